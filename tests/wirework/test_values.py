"""Values against numpy's own einsum, in numpy and in torch; plans, limits and code."""

import numpy as np
import opt_einsum
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirework import apply, code, copy, einsum, evaluate, plan, product, tensor
from wirework.errors import DiagramError, MemoryLimitError, ValueMissingError

SPECS = {
    "ij,jk->ik": "AB",
    "ij,jk,kl,lm->im": "ABCD",
    "ij,ij->": "AB",
    "ij->ji": "A",
    "ij->": "A",
    "ij->i": "A",
    "ii->": "M",
    "ii->i": "M",
    "bi,bj,bk->ijk": "ABC",
    "bi,bj,bk->bijk": "ABC",
    "ai,bi,ci->abc": "ABC",
    "i,j->ij": "xy",
    "abc,abd,c->d": "TUx",
}


def drawn(spec, names, sizes="abcdijklmnpq"):
    rng = np.random.default_rng(0)
    operands = spec.split("->")[0].split(",")
    one = {letter: 2 + place % 4 for place, letter in enumerate(sizes)}
    return {
        name: rng.standard_normal([one[letter] for letter in operand])
        for name, operand in zip(names, operands, strict=True)
    }


@pytest.mark.parametrize(("spec", "names"), SPECS.items())
def test_values_are_those_of_einsum(spec, names):
    arrays = drawn(spec, names)
    expected = np.einsum(spec, *arrays.values())
    found = evaluate(einsum(spec, *names), arrays)
    np.testing.assert_allclose(found, expected)
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    value = evaluate(einsum(spec, *names), tensors)
    assert isinstance(value, torch.Tensor)
    np.testing.assert_allclose(value.numpy(), expected)


def test_words_are_indices_too():
    rng = np.random.default_rng(0)
    arrays = {"X": rng.standard_normal((4, 3)), "W": rng.standard_normal((3, 2))}
    diagram = einsum("pos model, model head -> pos head", "X", "W")
    np.testing.assert_allclose(evaluate(diagram, arrays), arrays["X"] @ arrays["W"])
    assert [leg.name for leg in diagram.legs] == ["pos", "head"]


@pytest.mark.parametrize(("spec", "names"), SPECS.items())
def test_the_code_that_is_printed_computes_the_value(spec, names):
    arrays = drawn(spec, names)
    diagram = einsum(spec, *names)
    text = code(diagram, arrays)
    assert "FLOPs" in text
    found = eval(text, {"contract": opt_einsum.contract, **arrays})
    np.testing.assert_allclose(found, evaluate(diagram, arrays))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_copies_alone_are_identities_ones_and_numbers(library):
    x = np.array([1.0, 2.0, 3.0])
    arrays = {"x": x if library == "numpy" else torch.as_tensor(x)}
    sizes = {"d": 3}
    line = product(copy("i:d j:d"), tensor("x", "k:d"))
    expected = np.einsum("ij,k->ijk", np.eye(3), x)
    np.testing.assert_allclose(np.asarray(evaluate(line, arrays, sizes=sizes)), expected)
    cube = evaluate(copy("i:d j:d k:d"), {}, sizes=sizes)
    assert cube.sum() == 3 and all(cube[i, i, i] == 1 for i in range(3))
    assert evaluate(copy("i:d"), {}, sizes=sizes).tolist() == [1.0] * 3
    # A diagonal, and a leg of ones beside it.
    mixed = product(einsum("i->i", "x")(i="a"), copy("b:e"))
    both = product(product(tensor("x", "c:d"), copy("c:d i:d j:d"), [("c", "c")]), mixed)
    value = np.asarray(evaluate(both, arrays, sizes={"e": 2}))
    np.testing.assert_allclose(value, np.einsum("ij,a,b->ijab", np.diag(x), x, np.ones(2)))


def test_a_closed_loop_is_its_dimension():
    from wirework.algebra import trace

    assert evaluate(trace(copy("i:d j:d"), "i", "j"), {}, sizes={"d": 5}) == 5


def test_functions_agree_with_torch():
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = {
        "softmax": x.softmax(1),
        "layer_norm": torch.nn.functional.layer_norm(x, (4,), eps=1e-6),
        "rms_norm": torch.nn.functional.rms_norm(x, (4,), eps=1e-6),
        "exp": x.exp(),
        "relu": x.relu(),
        "silu": torch.nn.functional.silu(x),
        "tanh": x.tanh(),
        "sigmoid": x.sigmoid(),
        "gelu": torch.nn.functional.gelu(x),
        "gelu_tanh": torch.nn.functional.gelu(x, approximate="tanh"),
        "normal_cdf": torch.distributions.Normal(0, 1).cdf(x),
        "square": x**2,
    }
    for name, value in expected.items():
        along = "j" if name in ("softmax", "layer_norm", "rms_norm") else ""
        box = apply(name, tensor("X", "i j"), along)
        for array in (x, x.numpy()):
            found = evaluate(box, {"X": array})
            np.testing.assert_allclose(np.asarray(found), value.numpy(), rtol=1e-10)


def test_a_box_is_a_tensor_among_others():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 4, 2))
    scores = tensor("Q", "i:pos d") @ tensor("K", "j:pos d").T
    weights = apply("softmax", scores, "j")
    attended = weights @ tensor("V", "j:pos e:d")
    risen = np.exp(q @ k.T)
    expected = risen / risen.sum(1, keepdims=True) @ v
    arrays = {"Q": q, "K": k, "V": v}
    np.testing.assert_allclose(evaluate(attended, arrays), expected)
    assert len(plan(attended, arrays)) == 2


def test_conjugates():
    a = np.array([[1j, 2], [3, 4j]])
    diagram = product(tensor("A", "i j"), tensor("A", "k:i l:j", conjugate=True), [("j", "l")])
    np.testing.assert_allclose(evaluate(diagram, {"A": a}), a @ a.conj().T)


def test_the_plan_is_cheap_and_a_limit_is_kept():
    n = 60
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((n, n)) for name in "ABC"} | {"x": rng.standard_normal(n)}
    chain = einsum("ij,jk,kl,l->i", *"ABCx")
    (planned,) = plan(chain, arrays)
    assert planned.flops == 3 * 2 * n * n and planned.largest == n
    assert "FLOPs" in str(planned)
    evaluate(chain, arrays, memory_limit=n)
    with pytest.raises(MemoryLimitError, match="at most 100 elements.*3.6e"):
        evaluate(einsum("ij,jk->ik", *"AB"), arrays, memory_limit=100)


def test_missing_and_wrong_arrays():
    diagram = einsum("ij,j->i", "A", "x")
    arrays = {"A": np.ones((2, 3)), "x": np.ones(3)}
    assert evaluate(diagram, arrays).tolist() == [3.0, 3.0]
    with pytest.raises(ValueMissingError, match=r"array for x\[j\], got: A"):
        evaluate(diagram, {"A": arrays["A"]})
    with pytest.raises(ValueMissingError, match=r"1 axes for x\[j\], got shape \(2, 3\)"):
        evaluate(diagram, {**arrays, "x": arrays["A"]})
    with pytest.raises(ValueMissingError, match=r"size 3 for dimension 'j', as in A.*got 2"):
        evaluate(diagram, {**arrays, "x": np.ones(2)})
    with pytest.raises(ValueMissingError, match="a size for dimension 'd'"):
        evaluate(copy("i:d j:d"), {})


def test_only_a_plain_einsum_has_code():
    with pytest.raises(DiagramError, match="got a function"):
        code(apply("exp", tensor("A", "i j")))
    with pytest.raises(DiagramError, match="a diagonal or a copy"):
        code(copy("i:d j:d"))


def test_functions_do_not_overflow():
    far = np.array([-800.0, -40.0, 0.0, 40.0, 800.0])
    for name in ("sigmoid", "silu", "gelu", "gelu_tanh", "normal_cdf"):
        found = evaluate(apply(name, tensor("x", "i")), {"x": far})  # a warning is an error here
        assert np.isfinite(found).all() and abs(found[0]) < 1e-9, name
    masked = np.array([0.0, -np.inf, 1.0])
    weights = evaluate(apply("softmax", tensor("x", "i"), "i"), {"x": masked})
    np.testing.assert_allclose(weights, [1 / (1 + np.e), 0, np.e / (1 + np.e)])


@st.composite
def networks(draw):
    """An einsum of up to six tensors with up to three legs each, and sizes of its indices."""
    letters = "abcdefg"
    operand = st.lists(st.sampled_from(letters), min_size=1, max_size=3, unique=True)
    operands = ["".join(one) for one in draw(st.lists(operand, min_size=1, max_size=6))]
    used = sorted(set("".join(operands)))
    output = "".join(draw(st.lists(st.sampled_from(used), unique=True, max_size=3)))
    sizes = {letter: draw(st.integers(1, 6)) for letter in letters}
    return operands, output, sizes


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(1, 300), st.sampled_from([np.asarray, torch.as_tensor]))
def test_no_array_on_the_way_is_larger_than_the_limit(network, limit, library):
    operands, output, sizes = network
    rng = np.random.default_rng(0)
    arrays = {
        f"T{n}": rng.standard_normal([sizes[letter] for letter in one])
        for n, one in enumerate(operands)
    }
    spec = f"{','.join(operands)}->{output}"
    diagram = einsum(spec, *arrays)
    bound = {name: library(array) for name, array in arrays.items()}
    known = {dim: size for dim, size in sizes.items()}
    try:
        (planned,) = plan(diagram, bound, memory_limit=limit)
    except MemoryLimitError:
        # Never for want of looking: the value is too large, or some pair is.
        assert limit < np.prod([known[letter] for letter in {*"".join(operands)}], dtype=float)
        return
    largest, live = walked(operands, output, sizes, planned.path)
    assert largest <= planned.largest <= limit
    assert planned.peak >= live
    found = evaluate(diagram, bound, memory_limit=limit)
    np.testing.assert_allclose(np.asarray(found), np.einsum(spec, *arrays.values()), atol=1e-9)


def test_an_order_of_less_memory_is_looked_for_where_the_first_search_gives_up():
    sizes = {"b": 2, "c": 8, "d": 2, "e": 8, "f": 3, "h": 2}
    operands = ["ebh", "hf", "fh", "eb", "hc", "feh", "ed"]
    arrays = {f"T{n}": np.ones([sizes[i] for i in one]) for n, one in enumerate(operands)}
    diagram = einsum(",".join(operands) + "->h", *arrays)
    shapes = [array.shape for array in arrays.values()]
    spec = ",".join(operands) + "->h"
    path, _ = opt_einsum.contract_path(spec, *shapes, shapes=True, memory_limit=16)
    assert max(map(len, path)) > 2  # it gave up, and leaves the rest to one einsum
    (small,) = plan(diagram, arrays, optimizer="opt_einsum", memory_limit=16)
    assert small.largest == 16 and max(map(len, small.path)) == 2


def walked(operands, output, sizes, path):
    """The largest array of a path, and the most elements that are held, counted anew."""
    held = [(set(one), False) for one in operands]

    def size(indices):
        return int(np.prod([sizes[i] for i in indices]))

    given_ = sum(size(indices) for indices, _ in held)
    largest, most = 0, given_
    for step in path:
        taken = [held.pop(place) for place in sorted(step, reverse=True)]
        assert len(taken) <= 2  # or a library would choose an order of its own
        rest = set(output).union(*(indices for indices, _ in held))
        left = set().union(*(indices for indices, _ in taken)) & rest
        largest = max(largest, size(left))
        held.append((left, True))
        live = [indices for indices, made in (*held, *taken) if made]
        most = max(most, given_ + sum(map(size, live)))
    return largest, most


def test_a_plan_says_what_is_held_at_once():
    arrays = {"A": np.ones((4, 5)), "B": np.ones((5, 6)), "C": np.ones((6, 7))}
    (planned,) = plan(einsum("ij,jk,kl->il", *"ABC"), arrays)
    # The first product, 4 x 6 or 5 x 7, and the value, 4 x 7, beside what was given.
    assert planned.peak == 20 + 30 + 42 + 24 + 28
    assert "at once" in str(planned)


def test_a_plan_is_made_once():
    from wirework.values import _plan

    arrays = {"A": np.ones((4, 5)), "B": np.ones((5, 6))}
    diagram = einsum("ij,jk->ik", "A", "B")
    _plan.cache_clear()
    for _ in range(3):
        evaluate(diagram, arrays)
    evaluate(diagram, {"A": np.ones((2, 5)), "B": arrays["B"]})
    assert _plan.cache_info()[:2] == (2, 2)  # hits, misses: another shape is another plan


def test_cotengra_may_look_for_the_order():
    pytest.importorskip("cotengra")
    for spec, names in SPECS.items():
        arrays = drawn(spec, names)
        found = evaluate(einsum(spec, *names), arrays, optimizer="cotengra")
        np.testing.assert_allclose(found, np.einsum(spec, *arrays.values()))


def test_cotengra_that_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cotengra", None)
    arrays = {"A": np.ones((2, 3)), "B": np.ones((3, 7))}
    with pytest.raises(ImportError, match=r"pip install 'unmask\[tensor\]'"):
        evaluate(einsum("ij,jk->ik", "A", "B"), arrays, optimizer="cotengra")
