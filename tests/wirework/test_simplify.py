"""Every rule keeps the value; each does something; and a derivation shows its steps."""

import pytest

from wirework import apply, copy, equal, isotopic, parse, product, same_value, tensor, trace
from wirework.diagram import Copy, Sum, terms
from wirework.errors import DiagramError
from wirework.simplify import RULES, simplify, steps

A = tensor("A", "i:d j:d")
W = tensor("W", "i:d2 r:d", isometry=(1,))
I = copy("a:d b:d")  # noqa: E741 (the identity)
S = tensor("S", "i:d j:d", symmetric=((0, 1),))
x = tensor("x", "k:d")
CASES = {
    "transposition": [
        product(S, x, [("i", "k")]),
        S.T,
        product(S, tensor("S", "k:d l:d", symmetric=((0, 1),)), [("i", "l"), ("j", "k")]),
    ],
    "sums": [apply("exp", A + A), apply("tanh", 1 * A), apply("exp", A - A + A) @ x],
    "delta": [
        product(copy("a:d b:d c:d"), copy("e:d"), [("b", "e")]),
        product(product(A, copy("a:d b:d"), [("j", "a")]), copy("e:d"), [("b", "e")]),
    ],
    "identity": [
        product(A, I, [("j", "a")]),
        trace(product(A, I, [("j", "a")]), "i", "b"),
        product(product(I, copy("e:d f:d"), [("b", "e")]), tensor("x", "k:d"), [("a", "k")]),
    ],
    "fusion": [
        product(copy("a:d b:d c:d"), copy("e:d f:d g:d"), [("c", "e")]),
        product(copy("a:d b:d c:d"), copy("e:d f:d g:d"), [("c", "e"), ("b", "f")]),
        trace(copy("a:d b:d c:d"), "a", "b"),
        product(copy("a:d b:d"), copy("e:d f:d"), [("a", "e"), ("b", "f")]),
        product(product(A, copy("a:d b:d c:d"), [("j", "a")]), copy("e:d"), [("b", "e")]),
    ],
    "zero": [product(A, tensor("Z", "k:d l:d", zero=True), [("j", "k")])],
    "conjugation": [product(A, tensor("A", "k:d l:d", conjugate=True), [("j", "k")])],
    "orthogonality": [
        W.T @ W,
        trace(W.T @ W, "r", "r'"),
        product(A, W.T @ W, [("j", "r")]),
        parse("l:d m:d: B[i:d2 k:d j:d] B[i:d2 k:d j2:d] A[l:d j:d] A[j2:d m:d]"),
    ],
}


def with_isometry(diagram):
    """`B` of the text form is an isometry onto its first two legs."""
    from dataclasses import replace

    nodes = tuple(
        replace(node, isometry=(2,)) if getattr(node, "name", "") == "B" else node
        for node in diagram.nodes
    )
    return replace(diagram, nodes=nodes)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_keeps_the_value_and_makes_the_diagram_smaller(name):
    for case in CASES[name]:
        diagram = with_isometry(case)
        simpler = RULES[name](diagram)
        assert simpler is not None, str(diagram)
        assert same_value(diagram, simpler), str(diagram)
        if name not in ("conjugation", "transposition", "sums"):
            smaller = [len(one.nodes) + len(one.wires) for _, one in terms(simpler)]
            assert sum(smaller) < len(diagram.nodes) + len(diagram.wires)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_other_diagrams_alone(name):
    assert RULES[name](A @ A) is None
    assert RULES[name](product(A, copy("k:d l:d m:d"), [("j", "k")])) is None


def test_an_isometry_is_undone_from_one_side_only():
    assert RULES["orthogonality"](W @ W.T) is None
    assert not same_value(W @ W.T, copy("i:d2 i':d2"))
    assert isotopic(simplify(W.T @ W), copy("r:d r':d"))
    complex_ = tensor("U", "i:d2 r:d", isometry=(1,), real=False)
    assert RULES["orthogonality"](complex_.T @ complex_) is None
    turned = tensor("U", "i:d2 s:d", isometry=(1,), real=False, conjugate=True)
    found = RULES["orthogonality"](turned.T @ complex_)
    assert found is not None and isotopic(found, copy("s:d r:d"))


def test_an_isometry_whose_legs_are_crossed_stays():
    crossed = "l:d m:d: B[i:d j:d l:d] B[j:d i:d m:d]"
    assert RULES["orthogonality"](with_isometry(parse(crossed))) is None
    straight = "l:d m:d: B[i:d j:d l:d] B[i:d j:d m:d]"
    assert RULES["orthogonality"](with_isometry(parse(straight))) is not None


def test_transpositions_cancel_where_a_tensor_is_symmetric():
    one = product(S, x, [("i", "k")])(j="i")
    other = product(S, x, [("j", "k")])
    assert not isotopic(one, other) and isotopic(simplify(one), simplify(other))
    plain = product(A, x, [("i", "k")])
    assert RULES["transposition"](plain) is None
    assert RULES["transposition"](simplify(one)) is None  # it comes to rest
    assert RULES["transposition"](trace(S, "i", "j")) is None


def test_the_sum_over_a_delta_is_one():
    ends = product(copy("a:d b:d"), copy("e:d"), [("b", "e")])
    assert isotopic(RULES["delta"](ends), copy("a:d"))
    # A vector that is not all ones stays, and so do two ends: they are a dimension.
    assert RULES["delta"](product(copy("a:d b:d"), x, [("b", "k")])) is None
    assert RULES["delta"](product(copy("a:d"), copy("e:d"), [("a", "e")])) is None


def test_terms_in_a_box_are_added_up():
    (box,) = RULES["sums"](apply("exp", A + A)).nodes
    assert [c for c, _ in box.inner.terms] == [2]
    (box,) = RULES["sums"](apply("exp", A + A - A)).nodes
    assert box.inner == A
    other = A(i="j", j="i")
    assert RULES["sums"](apply("exp", 2 * A)) is None and RULES["sums"](A) is None
    assert RULES["sums"](apply("exp", A + other)) is None


def test_rules_take_all_lines_and_copies_at_once():
    chain = A
    for _ in range(5):
        chain = chain @ copy("a:d b:d") @ A
    assert isotopic(RULES["identity"](chain), A @ A @ A @ A @ A @ A)
    dots = copy("a:d b:d c:d")
    for _ in range(4):
        dots = dots @ copy("a:d b:d c:d")
    fused = RULES["fusion"](dots)
    assert len(fused.nodes) == 1 and len(fused.legs) == 7
    ring = trace(copy("a:d b:d") @ copy("a:d b:d") @ copy("a:d b:d"), "a", "b")
    loop = RULES["identity"](ring)
    assert len(loop.nodes) == 1 and same_value(loop, ring)
    line = copy("a:d b:d") @ copy("a:d b:d")
    assert isotopic(RULES["identity"](line), copy("a:d b:d"))


def test_a_wrong_isometry_is_refused():
    wide = tensor("V", "i:d r:d r2:d", isometry=(1, 2))
    with pytest.raises(DiagramError, match="fewer dimensions to more"):
        same_value(wide, wide)


def test_everything_at_once_with_its_steps():
    one = product(product(A, W.T @ W, [("j", "r")]), I, [("r'", "a")])
    shown = list(steps(one))
    assert [name for name, _ in shown] == ["orthogonality"]  # which takes its own stubs out
    fused = product(one, copy("c:d e:d f:d g:d"), [("b", "c")])
    shown += list(steps(trace(product(fused, copy("h:d"), [("e", "h")]), "f", "g")))
    assert {name for name, _ in shown} >= {"orthogonality", "fusion"}
    shown = shown[:1]
    for _, step in shown:
        assert same_value(step, one)
    assert isotopic(simplify(one), A(j="b"))


def test_sums_are_collected_and_cancel():
    total = A @ I(a="j'") + A(j="b") - 3 * A(j="b")
    found = simplify(total)
    assert isinstance(found, Sum) and len(found.terms) == 1 and found.terms[0][0] == -1
    assert equal(found, -1 * A(j="b"))
    nothing = simplify(A - A)
    assert isinstance(nothing, Sum) and not nothing.terms
    assert same_value(nothing, A - A)


def test_it_goes_into_functions():
    box = apply("exp", product(A, I, [("j", "a")]))
    found = simplify(box)
    assert same_value(box, found) and "copy" not in str(found)


def test_a_loop_is_a_number_and_stays():
    loop = trace(I, "a", "b")
    found = simplify(loop)
    assert isotopic(found, loop) and isinstance(found.nodes[0], Copy)
