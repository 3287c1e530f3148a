"""Derivatives against torch's automatic ones, and expectations against samples."""

import numpy as np
import pytest
import torch

from wirework import (
    apply,
    einsum,
    equal,
    evaluate,
    isotopic,
    parse,
    plan,
    product,
    same_value,
    tensor,
)
from wirework.derivative import EXPANSION, RULES, derivative, expand, hadamard, nabla
from wirework.diagram import Derivative, nodes_of
from wirework.equation import derivation
from wirework.errors import DiagramError
from wirework.functions import FUNCTIONS
from wirework.gaussian import expectation
from wirework.simplify import RULES as RULES_OF_SIMPLIFYING
from wirework.simplify import steps
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
    # (those of a root or logarithm are for positive numbers)
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


def nested(n):
    """A loop within a loop, for the second derivative."""
    found = BILINEAR
    for _ in range(n):
        found = nabla(found, "x")
    return found


BILINEAR = MULTILINEAR["bilinear layer"][0]


@pytest.mark.parametrize("case", MULTILINEAR)
def test_a_loop_has_the_value_of_what_it_stands_for(case):
    expression, name = MULTILINEAR[case]
    loop = nabla(expression, name)
    (node,) = loop.nodes
    assert isinstance(node, Derivative) and node.inner == expression
    carried = derivative(expression, name)
    assert loop.legs == carried.legs
    arrays = drawn(**SHAPES)
    torch.testing.assert_close(
        evaluate(loop, arrays), evaluate(carried, arrays, sizes=sizes_of(expression, arrays))
    )
    assert same_value(loop, carried) and loop.tensors == expression.tensors


def test_a_loop_within_a_loop_is_the_hessian():
    arrays = drawn(**SHAPES)
    b = torch.einsum("oh,hi,hj->oij", arrays["D"], arrays["L"], arrays["R"])
    torch.testing.assert_close(evaluate(nested(2), arrays), b + b.transpose(1, 2))
    assert not expand(nested(3)).terms  # quadratic
    assert evaluate(nested(3), arrays).shape == (2, 3, 3, 3)
    one_by_one = derivative(derivative(BILINEAR, "x"), "x")
    assert equal(expand(nested(2)), one_by_one(j="i'"))  # named after another x
    assert len({leg.name for leg in nested(2).legs}) == 3


def test_a_loop_is_a_node_among_others():
    loop = nabla(apply("tanh", X @ W), "W")
    joined = product(loop, tensor("y", "a:d b:m"), [("j", "a"), ("k'", "b")])
    arrays = drawn(**SHAPES) | drawn(y=(3, 4), seed=1)
    _, expected = torch.func.jvp(lambda w: (arrays["X"] @ w).tanh(), (arrays["W"],), (arrays["y"],))
    torch.testing.assert_close(evaluate(joined, arrays), expected)
    assert equal(joined, joined) and isotopic(joined, joined)
    assert not equal(loop, nabla(apply("tanh", X @ W), "X")(i="i", k="k"))
    assert "d/dW" in str(loop)
    # By another tensor, and in a box.
    check(joined, "X", arrays)
    check(apply("square", joined), "y", arrays)
    assert plan(joined, arrays) == plan(expand(joined), arrays)


def test_a_derivation_shows_the_rules_one_by_one():
    loss = apply("log", einsum("i,ij,j->", "x", "M", "x"))
    whole = 2 * loss + apply("exp", einsum("i,i->", "x", "x"))
    loop = nabla(whole, "x")
    shown = list(steps(loop, {**EXPANSION, **RULES_OF_SIMPLIFYING}))
    names = [name for name, _ in shown]
    assert names[0] == "linearity" and {"product rule", "chain rule"} <= set(names)
    arrays = {"x": torch.rand(3, dtype=torch.float64) + 1, "M": torch.eye(3).double()}
    expected = evaluate(derivative(whole, "x"), arrays)
    for name, step in shown:
        torch.testing.assert_close(evaluate(step, arrays), expected, msg=name)
    last = shown[-1][1]
    assert not any(isinstance(node, Derivative) for node in nodes_of(last))
    assert derivation(loop, shown).notes[0] == "linearity"


@pytest.mark.parametrize("rule", EXPANSION)
def test_rules_of_derivatives_leave_other_diagrams_alone(rule):
    assert EXPANSION[rule](X @ W) is None
    assert EXPANSION[rule](apply("tanh", X @ W)) is None


def test_second_derivatives_of_norms_and_attention():
    x = tensor("x", "q:n d")
    along = tensor("a", "q2:n d2:d")
    normed = product(apply("layer_norm", x, "d"), along, [("q", "q2"), ("d", "d2")])
    scores = x @ tensor("B", "d e:d") @ x(q="k").T
    attended = apply("softmax", scores, "k") @ x(q="k")
    loss = product(attended, along, _pairs(attended))
    arrays = drawn(x=(2, 3), a=(2, 3), B=(3, 3))
    for expression in (normed, loss):
        expected = torch.autograd.functional.hessian(
            lambda one, e=expression: evaluate(e, {**arrays, "x": one}), arrays["x"]
        )
        found = evaluate(nabla(nabla(expression, "x"), "x"), arrays)
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def _pairs(expression):
    return list(zip([leg.name for leg in expression.legs], ["q2", "d2"], strict=True))


def test_expectations_of_a_loop():
    loop = nabla(einsum("i,ij,j->", "x", "M", "x"), "x")
    found = expectation(loop, "x", mean="mu", covariance="S")
    arrays = {"M": np.arange(4.0).reshape(2, 2), "mu": np.array([1.0, 2.0]), "S": np.eye(2)}
    symmetric = arrays["M"] + arrays["M"].T
    np.testing.assert_allclose(evaluate(found, arrays), symmetric @ arrays["mu"])


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
