"""Sameness: moving changes nothing, connections do; what is equal has equal values."""

from dataclasses import replace

import numpy as np
import pytest

from wirework import apply, copy, einsum, equal, isotopic, parse, product, same_value, tensor
from wirework.diagram import Diagram, Open, Port

CASES = [
    einsum("ij,jk,kl->il", *"ABC"),
    einsum("ij,ij,ij->i", *"AAB"),
    einsum("bi,bj,bk->ijk", *"XYZ"),
    einsum("ij,ji->", *"AA"),
    product(tensor("A", "i j"), copy("k:d l:d m:d")),
]


def moved(diagram, seed):
    """The same tensors in another order, wires turned around and listed in another order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(diagram.nodes))
    place = {int(old): new for new, old in enumerate(order)}

    def port(one):
        return Port(place[one.node], one.leg)

    wires = [(port(b), port(a)) for a, b in diagram.wires]
    rng.shuffle(wires)
    nodes = tuple(diagram.nodes[int(old)] for old in order)
    opened = tuple(Open(one.leg, port(one.port)) for one in diagram.open)
    return Diagram(nodes, tuple((Port(*a), Port(*b)) for a, b in wires), opened)


@pytest.mark.parametrize("diagram", CASES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_moving_tensors_changes_nothing(diagram, seed):
    other = moved(diagram, seed)
    assert isotopic(diagram, other) and equal(diagram, other) and same_value(diagram, other)


def test_connections_change_values():
    pairs = [
        ("i:d: A[i:d j:d] x[j:d]", "i:d: A[j:d i:d] x[j:d]"),
        (": A[i:d j:d] B[j:d i:d]", ": A[i:d j:d] B[i:d j:d]"),
        ("i:d: A[i:d j:d] x[j:d]", "i:d: A[i:d j:d] y[j:d]"),
    ]
    for one, other in pairs:
        a, b = parse(one), parse(other)
        assert not isotopic(a, b) and not equal(a, b) and not same_value(a, b)


def test_a_symmetric_tensor_may_be_turned():
    for symmetric in (False, True):
        s = tensor("S", "i:d j:d", symmetric=((0, 1),) if symmetric else ())
        x = tensor("x", "j:d")
        a, b = s @ x, s.T @ x(j="i")
        a, b = a(i="k"), b(j="k")
        assert not isotopic(a, b)
        assert equal(a, b) == same_value(a, b) == symmetric


def test_joined_copies_are_one():
    two = product(copy("a:d b:d c:d"), copy("e:d f:d g:d"), [("c", "e")])
    one = copy("a:d b:d f:d g:d")
    assert equal(two, one) and same_value(two, one) and not isotopic(two, one)
    # The identity is a wire.
    line = product(tensor("A", "i:d j:d"), copy("k:d l:d"), [("j", "k")])(l="j")
    assert equal(line, tensor("A", "i:d j:d")) and not isotopic(line, tensor("A", "i:d j:d"))


def test_sums_are_compared_term_by_term():
    a, b = tensor("A", "i:d j:d"), tensor("B", "i:d j:d")
    assert equal(a @ b + b @ a, b @ a + a @ b)
    assert equal(a + a, 2 * a) and equal(a - a + b, b)
    assert not equal(a @ b + b @ a, 2 * (a @ b)) and not equal(2 * a, 3 * a)
    assert same_value((a + b) @ (a + b), a @ a + a @ b + b @ a + b @ b)
    assert equal((a + b) @ (a + b), a @ a + a @ b + b @ a + b @ b)


def test_functions_are_told_apart_by_name_axis_and_inside():
    a, b = tensor("A", "i:d j:d"), tensor("B", "i:d j:d")
    boxes = [
        apply("exp", a),
        apply("exp", b),
        apply("relu", a),
        apply("softmax", a, "i"),
        apply("softmax", a, "j"),
    ]
    for place, one in enumerate(boxes):
        for other_place, other in enumerate(boxes):
            same = place == other_place
            assert equal(one, other) == same_value(one, other) == same


def test_other_legs_are_another_value():
    a = tensor("A", "i:d j:d")
    assert not same_value(a, a(i="k")) and not equal(a, a(i="k"))
    assert same_value(a, replace(a, open=a.open[::-1]))  # the same legs in another order
    assert not same_value(a, a.T(i="j", j="i"))
