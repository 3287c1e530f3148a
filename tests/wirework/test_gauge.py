"""A gauge changes no value; the canonical one is the same for all pairs that differ by a gauge."""

import numpy as np
import pytest
import torch

from wirework import apply, einsum, evaluate, tensor
from wirework.errors import DiagramError
from wirework.gauge import bond, canonical, invariants, regauge

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}
x = tensor("x", "q:pos d:model")
SCORES = x @ tensor("W_Q", "d:model h:head") @ tensor("W_K", "e:model h:head").T @ x(q="k").T
PATTERN = apply("softmax", SCORES, "k")


def drawn(*shape, seed=0, dtype=float):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(shape)
    return array + 1j * rng.standard_normal(shape) if dtype is complex else array


def head(library="numpy", dtype=float, seed=0, n=3):
    arrays = {
        "x": drawn(5, 8),
        "W_Q": drawn(8, n, seed=seed + 1),
        "W_K": drawn(8, n, seed=seed + 2),
    }
    if dtype is complex:
        arrays = {name: one + 1j * one[::-1] for name, one in arrays.items()}
    return {name: LIBRARIES[library](one) for name, one in arrays.items()}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("expression", [SCORES, PATTERN], ids=["scores", "within softmax"])
def test_a_gauge_changes_arrays_and_no_value(library, expression):
    arrays = head(library)
    change = LIBRARIES[library](drawn(3, 3, seed=7))
    turned = regauge(expression, "W_Q", "W_K", change, arrays=arrays)
    assert abs(turned["W_Q"] - arrays["W_Q"]).max() > 0.1
    assert abs(turned["W_K"] - arrays["W_K"]).max() > 0.1
    before, after = evaluate(expression, arrays), evaluate(expression, turned)
    np.testing.assert_allclose(np.asarray(before), np.asarray(after), atol=1e-10)
    np.testing.assert_allclose(
        np.asarray(invariants(expression, "W_Q", "W_K", arrays=turned)),
        np.asarray(invariants(expression, "W_Q", "W_K", arrays=arrays)),
    )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("seed", range(3))
def test_the_canonical_gauge_is_one_for_all(library, dtype, seed):
    arrays = head(library, dtype, seed)
    one = canonical(SCORES, "W_Q", "W_K", arrays=arrays)
    change = LIBRARIES[library](drawn(3, 3, seed=seed + 9, dtype=dtype))
    turned = regauge(SCORES, "W_Q", "W_K", change, arrays=arrays)
    other = canonical(SCORES, "W_Q", "W_K", arrays=turned)
    for name in ("W_Q", "W_K"):
        left, right = np.asarray(one.arrays[name]), np.asarray(other.arrays[name])
        np.testing.assert_allclose(left, right, atol=1e-9)
        # Balanced: both have the square roots of the singular values as lengths.
        lengths = (abs(left) ** 2).sum(0)
        np.testing.assert_allclose(lengths, np.asarray(one.values), atol=1e-9)
    np.testing.assert_allclose(
        np.asarray(evaluate(SCORES, one.arrays)), np.asarray(evaluate(SCORES, arrays)), atol=1e-8
    )
    product = np.asarray(arrays["W_Q"]) @ np.asarray(arrays["W_K"]).T
    np.testing.assert_allclose(np.asarray(one.values), np.linalg.svd(product)[1][:3])
    different = canonical(SCORES, "W_Q", "W_K", arrays=head(library, dtype, seed + 20))
    assert abs(np.asarray(different.arrays["W_Q"]) - np.asarray(one.arrays["W_Q"])).max() > 0.1


def test_the_product_is_never_built():
    class Watched(np.ndarray):
        """An array that remembers the largest one made of it."""

        largest = 0

        def __array_finalize__(self, made):
            Watched.largest = max(Watched.largest, self.size)

    n, r = 400, 4
    arrays = {
        "A": drawn(n, r).view(Watched),
        "B": drawn(n, r, seed=1).view(Watched),
    }
    pair = einsum("ir,jr->ij", "A", "B")
    Watched.largest = 0
    canonical(pair, "A", "B", arrays=arrays)
    invariants(pair, "A", "B", arrays=arrays)
    assert n * r <= Watched.largest < 4 * n * r
    np.asarray(arrays["A"] @ arrays["B"].T)
    assert Watched.largest >= n * n  # it would be seen


def test_a_bond_wider_than_the_legs_beside_it():
    arrays = {"A": drawn(3, 6), "B": drawn(5, 6, seed=1)}
    pair = einsum("ir,jr->ij", "A", "B")
    found = canonical(pair, "A", "B", arrays=arrays)
    assert found.arrays["A"].shape == (3, 6) and found.arrays["B"].shape == (5, 6)
    assert not found.arrays["A"][:, 3:].any() and found.values.shape == (3,)
    np.testing.assert_allclose(evaluate(pair, found.arrays), evaluate(pair, arrays), atol=1e-10)


def test_directions_that_carry_nothing_are_zero():
    a, b = drawn(8, 2) @ drawn(2, 4, seed=3), drawn(8, 4, seed=1)
    pair = einsum("ir,jr->ij", "A", "B")
    found = canonical(pair, "A", "B", arrays={"A": a, "B": b})
    assert found.arrays["A"][:, :2].all() and not found.arrays["A"][:, 2:].any()
    np.testing.assert_allclose(evaluate(pair, found.arrays), a @ b.T, atol=1e-10)


def test_legs_in_any_order_and_tensors_of_many():
    heads = einsum("hrd,ehr->hde", "A", "B")
    with pytest.raises(DiagramError, match="one wire between 'A' and 'B'.*got 0"):
        bond(einsum("ij,jk->ik", "A", "C"), "A", "B")
    arrays = {"A": drawn(2, 3, 4), "B": drawn(5, 2, 3, seed=1)}
    assert bond(heads, "A", "B") == ("A", 1, "B", 2)
    turned = regauge(heads, "A", "B", drawn(3, 3, seed=2), arrays=arrays)
    np.testing.assert_allclose(evaluate(heads, turned), evaluate(heads, arrays))
    assert turned["A"].shape == (2, 3, 4) and turned["B"].shape == (5, 2, 3)


def test_what_has_no_gauge():
    arrays = {"A": drawn(4, 4), "B": drawn(4, 4, seed=1)}
    with pytest.raises(DiagramError, match="got 2. A gauge belongs to a bond"):
        bond(einsum("ij,ij->", "A", "B"), "A", "B")
    assert bond(einsum("ij,ij->", "A", "B"), "A", "B", leg="j").left_axis == 1
    twice = einsum("ij,jk,il->kl", "A", "B", "A")
    with pytest.raises(DiagramError, match="joined to 'B' everywhere"):
        bond(twice, "A", "B")
    conjugated = tensor("A", "i:d j:d", conjugate=True) @ tensor("B", "j:d k:d")
    with pytest.raises(DiagramError, match="everywhere, got B"):
        bond(conjugated, "A", "B")
    pair = einsum("ij,jk->ik", "A", "B")
    with pytest.raises(DiagramError, match=r"4 by 4 with an inverse.*got shape \(3, 3\)"):
        regauge(pair, "A", "B", np.eye(3), arrays=arrays)
    with pytest.raises(DiagramError, match="with an inverse"):
        regauge(pair, "A", "B", np.ones((4, 4)), arrays=arrays)
    with pytest.raises(DiagramError, match="got 1 twice"):
        canonical(pair, "A", "B", arrays={"A": np.eye(4), "B": np.eye(4)})
