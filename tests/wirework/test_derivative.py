"""Derivatives against torch's automatic ones, and expectations against samples."""

import numpy as np
import pytest
import torch

from wirework import apply, einsum, equal, evaluate, isotopic, parse, product, tensor
from wirework.derivative import RULES, derivative, hadamard
from wirework.errors import DiagramError
from wirework.functions import FUNCTIONS
from wirework.gaussian import expectation
from wirework.values import sizes_of

X = tensor("X", "i:n j:d")
W = tensor("W", "j:d k:m")


def drawn(seed=0, **shapes):
    gen = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s, generator=gen, dtype=torch.float64) for n, s in shapes.items()}


def check(expression, name, arrays, tolerance=1e-9):
    """Jacobian by torch, of the expression's own value."""

    def value(one):
        return evaluate(expression, {**arrays, name: one})

    expected = torch.autograd.functional.jacobian(value, arrays[name])
    sizes = sizes_of(expression, arrays)
    found = evaluate(derivative(expression, name), arrays, sizes=sizes)
    assert expected.abs().max() > 1e-3  # there is something to differentiate
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


MULTILINEAR = {
    "matrix product": (X @ W, "W"),
    "quadratic": (einsum("i,ij,j->", "x", "M", "x"), "x"),
    "gram": (einsum("ij,kj->ik", "A", "A"), "A"),
    "trace of a cube": (einsum("ij,jk,ki->", *"MMM"), "M"),
    "the tensor itself": (tensor("M", "i:d j:d"), "M"),
    "diagonal": (einsum("ii->i", "M"), "M"),
    "bilinear layer": (einsum("oh,hi,hj,i,j->o", *"DLRxx"), "x"),
    "sum": (X @ W + 3 * hadamard(X @ W, X @ W), "W"),
}
SHAPES = {"X": (2, 3), "W": (3, 4), "M": (3, 3), "A": (2, 3), "x": 3} | {
    "D": (2, 4),
    "L": (4, 3),
    "R": (4, 3),
}


@pytest.mark.parametrize("case", MULTILINEAR)
def test_products(case):
    expression, name = MULTILINEAR[case]
    check(expression, name, drawn(**SHAPES))


@pytest.mark.parametrize("name", sorted(set(RULES) - {"step"}))
def test_functions(name):
    arrays = drawn(**SHAPES)
    if name in ("log", "rsqrt"):
        arrays = {key: value.abs() + 0.1 for key, value in arrays.items()}
    along = "" if FUNCTIONS[name].elementwise else "k"
    box = apply(name, X @ W, along)
    check(box, "W", arrays)
    check(product(box, tensor("y", "k2:m"), [("k", "k2")]), "X", {**arrays, **drawn(y=(4,))})


def test_every_function_has_a_rule():
    assert set(RULES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "rms_norm"])
def test_functions_along_two_legs(name):
    check(apply(name, X @ W, "i k"), "W", drawn(**SHAPES))


def test_attention_and_a_normed_mlp():
    x = tensor("x", "q:n d")
    queries = x @ tensor("Q", "d e")
    keys = x(q="k") @ tensor("K", "d e")
    pattern = apply("softmax", queries @ keys.T, "k")
    attended = pattern @ (x(q="k") @ tensor("V", "d f"))
    arrays = drawn(x=(3, 4), Q=(4, 2), K=(4, 2), V=(4, 2))
    check(attended, "x", arrays)
    check(attended, "Q", arrays)
    normed = apply("rms_norm", x, "d")
    mlp = apply("silu", normed @ tensor("W", "d m")) @ tensor("O", "m g:d")
    check(mlp, "x", drawn(x=(2, 3), W=(3, 4), O=(4, 3)), tolerance=1e-8)


def test_hessians():
    layer = MULTILINEAR["bilinear layer"][0]
    arrays = drawn(**SHAPES)
    twice = derivative(derivative(layer, "x"), "x")
    b = torch.einsum("oh,hi,hj->oij", arrays["D"], arrays["L"], arrays["R"])
    torch.testing.assert_close(evaluate(twice, arrays), b + b.transpose(1, 2))
    # By hand: D L R and the same with its legs exchanged, without x.
    assert "x" not in twice.tensors
    loss = apply("log", einsum("i,ij,j->", "x", "M", "x"))
    arrays["M"] = arrays["M"] @ arrays["M"].T
    expected = torch.autograd.functional.hessian(lambda x: (x @ arrays["M"] @ x).log(), arrays["x"])
    found = evaluate(derivative(derivative(loss, "x"), "x"), arrays)
    torch.testing.assert_close(found, expected)


def test_the_derivative_of_a_product_is_the_rest_of_it():
    found = derivative(einsum("ij,jk,kl->il", *"ABC"), "B")
    ((coefficient, term),) = found.terms
    # Its legs get a prime only where their name is taken; here inner legs were joined.
    assert coefficient == 1 and isotopic(term, parse("i l j k: A[i j] C[k l]"))


def test_a_tensor_that_is_not_there_or_conjugated():
    with pytest.raises(DiagramError, match="among X, W, got 'Z'"):
        derivative(X @ W, "Z")
    with pytest.raises(DiagramError, match="without conjugation"):
        derivative(tensor("A", "i j", conjugate=True), "A")


def test_gaussian_expectations_are_those_of_samples():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    mu, sigma = rng.standard_normal(3), root @ root.T
    samples = rng.multivariate_normal(mu, sigma, size=400_000)
    b = rng.standard_normal((2, 3, 3))
    layer = einsum("oij,i,j->o", "B", "x", "x")
    fourth = einsum("i,i,j,j->", *"xxxx")
    arrays = {"B": b, "mu": mu, "S": sigma}
    found = evaluate(expectation(layer, "x", mean="mu", covariance="S"), arrays)
    sampled = np.einsum("oij,ni,nj->o", b, samples, samples) / len(samples)
    np.testing.assert_allclose(found, sampled, atol=0.05)
    np.testing.assert_allclose(found, np.einsum("oij,ij->o", b, sigma + np.outer(mu, mu)))
    found = evaluate(expectation(fourth, "x", mean="mu", covariance="S"), arrays)
    sampled = ((samples**2).sum(1) ** 2).mean()
    np.testing.assert_allclose(found, sampled, rtol=0.02)


def test_isserlis_counts_pairings():
    # E[(x.x)^2] = (tr S)^2 + 2 tr S^2 for a mean of zero; an odd power has none.
    fourth = expectation(einsum("i,i,j,j->", *"xxxx"), "x", covariance="S")
    assert sum(c for c, _ in fourth.terms) == 3
    s = np.diag([1.0, 2.0])
    assert evaluate(fourth, {"S": s}) == pytest.approx(9 + 2 * 5)
    odd = expectation(einsum("i,j,k->ijk", *"xxx"), "x", covariance="S")
    assert not odd.terms
    even = expectation(einsum("i,j->ij", *"xx"), "x", covariance="S")
    assert equal(even(j="j"), tensor("S", "i:i j:i")) and evaluate(even, {"S": s}).trace() == 3


def test_matrices_have_expectations_too():
    s = np.einsum("ab,cd->abcd", np.eye(2), np.eye(3)).transpose(0, 2, 1, 3)
    gram = einsum("ij,kj->ik", "A", "A")
    found = evaluate(expectation(gram, "A", covariance="S"), {"S": s})
    np.testing.assert_allclose(found, 3 * np.eye(2))


def test_only_polynomials_have_an_expectation():
    with pytest.raises(DiagramError, match="plain tensor, got exp"):
        expectation(apply("exp", tensor("x", "i")), "x")
