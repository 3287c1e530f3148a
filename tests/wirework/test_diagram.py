"""Diagrams: what they refuse, how they are built, and what they are in text."""

import doctest

import numpy as np
import pytest

import wirework
from wirework import Leg, Sum, copy, einsum, evaluate, isotopic, parse, product, tensor, trace
from wirework.algebra import apply, transpose
from wirework.diagram import Diagram, Open, Port, Tensor
from wirework.errors import DiagramError

A, B, x = tensor("A", "i:d j:d"), tensor("B", "i:d j:d"), tensor("x", "j:d")


def values(*names, size=3):
    rng = np.random.default_rng(0)
    shapes = {"A": 2, "B": 2, "x": 1}
    return {name: rng.standard_normal([size] * shapes[name]) for name in names}


def test_examples_in_docstrings_hold():
    for module in (wirework.diagram, wirework.strings, wirework.text):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
    assert not doctest.testmod(wirework).failed


def test_operators_are_those_of_matrices():
    arrays = values("A", "B", "x")
    a, b, v = arrays["A"], arrays["B"], arrays["x"]
    cases = {
        "product": (A @ B, a @ b),
        "vector": (A @ x, a @ v),
        "transpose": (A.T @ x(j="i"), a.T @ v),
        "gram": (A @ A.T, a @ a.T),
        "power": (A @ A @ A @ x, a @ a @ a @ v),
        "sum": (A @ B - 2 * B @ A + A, a @ b - 2 * b @ a + a),
        "of sums": ((A + B) @ (A - B), (a + b) @ (a - b)),
        "trace": (trace(A @ B, "i", "j"), np.trace(a @ b)),
        "trace of a sum": (trace(A + B, "i", "j"), np.trace(a + b)),
        "outer": (product(x, x(j="k")), np.outer(v, v)),
        "negative": (-(A @ x), -(a @ v)),
        "order": (transpose(A, ("j", "i")), a.T),
    }
    for name, (expression, expected) in cases.items():
        np.testing.assert_allclose(evaluate(expression, arrays), expected, err_msg=name)


def test_a_new_leg_gets_a_prime_where_its_name_is_taken():
    assert [leg.name for leg in (A @ A.T).legs] == ["i", "i'"]
    assert [leg.name for leg in (A @ A.T @ A @ A.T).legs] == ["i", "i'"]


def test_terms_are_added_by_the_names_of_their_legs():
    arrays = values("A")
    total = A + transpose(A, ("j", "i"))
    np.testing.assert_allclose(evaluate(total, arrays), 2 * arrays["A"])
    assert [leg.name for leg in (A - A).legs] == ["i", "j"]
    empty = Sum((), A.legs)
    assert evaluate(empty, {}, sizes={"d": 2}).shape == (2, 2)
    assert (A + empty).legs == A.legs


@pytest.mark.parametrize(
    "text",
    [
        "i: A[i j] x[j]",
        ": A[i i2:i] A[i2:i i]",
        "i:d k:d: A[i:d j:d] A*[k:d j:d]",
        "i: copy[i j k] x[j] y[k]",
        "q k: W_Q[q d:model] W_K[k d:model]",
    ],
)
def test_the_text_form_is_read_back(text):
    diagram = parse(text)
    assert str(diagram) == text
    assert parse(str(diagram)) == diagram


def test_what_is_written_of_any_einsum_is_the_same_diagram():
    for spec, names in {
        "ij,jk,kl->il": "ABC",
        "bi,bj,bk->ijk": "XYZ",
        "ij,ij,ij->i": "AAB",
        "ii->i": "M",
        "ij->": "M",
    }.items():
        diagram = einsum(spec, *names)
        assert isotopic(parse(str(diagram)), diagram)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A @ tensor("y", "k"), "joined legs of one dimension.*'j' of A.*'k' of y"),
        (lambda: Diagram((Tensor("A", (Leg("i", "i"),)),), (), ()), "'i' of A.*dangling.*one leg"),
        (lambda: product(A, B), "different names, got 'i' twice"),
        (lambda: parse("i: A[i j] x[j] y[j]"), "join two legs, got 3: A.*x.*y.*copy"),
        (lambda: parse("i: A[i j]"), "join two legs, got 1: A"),
        (lambda: parse("k: A[i i]"), "one tensor with the open leg 'k', got 0"),
        (lambda: parse("i: A(i)"), "NAME\\[leg leg\\], got 'A\\(i\\)'"),
        (lambda: parse("A[i]"), "open legs: tensors"),
        (lambda: tensor("c", "") @ x, "open leg on both sides of @"),
        (lambda: A(k="l"), "name of an open leg, got 'k'; open are: i, j"),
        (lambda: product(x, x, [("j", "k")]), "name of an open leg, got 'k'"),
        (lambda: transpose(A, ("i", "k")), "each of the open legs \\['i', 'j'\\] once"),
        (lambda: A + x, "same open legs, got \\[i:d j:d\\] and \\[j:d\\]"),
        (lambda: apply("softmax", A, "k"), "name of an open leg, got 'k'"),
        (lambda: apply("softmax", A), "legs along which it acts for softmax"),
        (lambda: apply("exp", A, "i"), "acts on each element for exp"),
        (lambda: apply("sin", A), "function among exp, .*got 'sin'"),
        (lambda: einsum("ij,jk"), "a name for each of the 2 operands"),
        (lambda: einsum("bi,bj,bk", *"XYZ"), "index 'b' joins operands \\[1, 2, 3\\].*in silence"),
        (lambda: einsum("ij->ik", "A"), "each output index once.*got 'k'"),
        (lambda: einsum("i...->i", "A"), "Ellipses"),
        (lambda: einsum("ij,i->j", "A", "A"), "same number of legs wherever 'A' stands, got 2"),
    ],
)
def test_bad_diagrams_say_what_is_wrong(make, message):
    with pytest.raises(DiagramError, match=message):
        make()


def test_a_leg_has_one_end():
    node = Tensor("A", (Leg("i", "i"), Leg("j", "i")))
    opened = (Open(node.legs[0], Port(0, 0)),)
    with pytest.raises(DiagramError, match="one end, got leg 'i' of A.*with 2"):
        Diagram((node,), ((Port(0, 0), Port(0, 1)),), opened)
    with pytest.raises(DiagramError, match="legs that exist"):
        Diagram((node,), ((Port(0, 0), Port(0, 1)), (Port(1, 0), Port(1, 1))), ())


def test_copies_fork_wires():
    v = np.array([1.0, 2.0])
    cube = product(product(copy("a:d b:d c:d"), x, [("a", "j")]), x, [("b", "j")])
    assert evaluate(cube, {"x": v}).tolist() == [1.0, 4.0]
