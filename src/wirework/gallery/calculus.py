"""Derivatives, Jacobians, Hessians, Gaussian expectations, and derivations by named rules."""

from wirework import apply, einsum, parse, product, tensor
from wirework.derivative import EXPANSION, derivative, nabla
from wirework.diagram import copy
from wirework.equation import derivation, equation
from wirework.gallery.figure import Chapter, Drawn
from wirework.gaussian import expectation
from wirework.simplify import RULES, simplify, steps

CHAPTER = Chapter("Derivatives and expectations")


@CHAPTER
def derivative_of_a_form() -> Drawn:
    """The gradient of a quadratic form.

    Where a diagram is linear in a tensor, its derivative is the diagram without it; a product has a
    term for each place.
    """
    form = einsum("i,ij,j->", "x", "A", "x")
    return derivative(form, "x")


@CHAPTER
def penrose_loop() -> Drawn:
    """A derivative that is not carried out is a loop around what is differentiated.

    Its new leg starts at the loop.
    """
    return nabla(einsum("i,ij,j->", "x", "A", "x"), "x")


@CHAPTER
def product_rule() -> Drawn:
    """Carried out step by step: the loop goes to each place where x stands."""
    loop = nabla(einsum("i,ij,j->", "x", "A", "x"), "x")
    return derivation(loop, steps(loop, {**EXPANSION, **RULES}))


@CHAPTER
def loop_in_a_loop() -> Drawn:
    """The Hessian is a loop around a loop."""
    layer = einsum("oh,hi,hj,i,j->o", "D", "L", "R", "x", "x")
    return nabla(nabla(layer, "x"), "x")


@CHAPTER
def hessian_of_a_form() -> Drawn:
    """Its Hessian is A and its transpose."""
    form = einsum("i,ij,j->", "x", "A", "x")
    return derivative(derivative(form, "x"), "x")


@CHAPTER
def least_squares() -> Drawn:
    """The gradient of ½|Xw − y|² by w."""
    X, w, y = tensor("X", "n d"), tensor("w", "d"), tensor("y", "n")
    rest = X @ w - y
    return derivative(0.5 * product(rest, rest, [("n", "n")]), "w")


@CHAPTER
def gradient_of_a_trace() -> Drawn:
    """The gradient of Tr(AᵀBA) by A."""
    return derivative(einsum("ji,jk,ki->", "A", "B", "A"), "A")


@CHAPTER
def bilinear_hessian() -> Drawn:
    """The Hessian of a bilinear MLP by its input.

    It does not depend on the input: it is the order-3 tensor of the layer, symmetrised.
    """
    layer = einsum("oh,hi,hj,i,j->o", "D", "L", "R", "x", "x")
    return derivative(derivative(layer, "x"), "x")


@CHAPTER
def softmax_jacobian() -> Drawn:
    """The Jacobian of a softmax: a diagonal matrix less an outer product."""
    return derivative(apply("softmax", tensor("z", "k"), "k"), "z")


@CHAPTER
def attention_jacobian() -> Drawn:
    """The Jacobian of one attention head's output by the logits' left factor."""
    scores = einsum("q d, d e, k e -> q k", "X", "W_{QK}", "Y")
    pattern = apply("softmax", scores, "k")
    output = product(pattern, tensor("V", "k m"), [("k", "k")])
    return derivative(output, "W_{QK}")


@CHAPTER
def rms_norm_jacobian() -> Drawn:
    """The Jacobian of an RMS norm."""
    return derivative(apply("rms_norm", tensor("x", "d"), "d"), "x")


@CHAPTER
def gaussian_form() -> Drawn:
    """The expectation of a quadratic form over a Gaussian x: its covariance closes the loop."""
    form = einsum("i,ij,j->", "x", "A", "x")
    return expectation(form, "x", mean="mu")


@CHAPTER
def isserlis() -> Drawn:
    """The fourth moment of a Gaussian: three ways to pair four legs."""
    four = einsum("a,b,c,d->abcd", "x", "x", "x", "x")
    return expectation(four, "x")


@CHAPTER
def bilinear_expectation() -> Drawn:
    """What a bilinear layer gives on average."""
    layer = einsum("oh,hi,hj,i,j->o", "D", "L", "R", "x", "x")
    return expectation(layer, "x", mean="mu")


@CHAPTER
def derivation_by_rules() -> Drawn:
    """A derivation step by step: each equals sign names its rule."""
    U = tensor("U", "i:m r:d", isometry=(1,))
    A, I = tensor("A", "i:d j:d"), copy("a:d b:d")  # noqa: E741
    start = product(product(A, I, [("j", "a")]), U.T @ U, [("b", "r")])
    return derivation(start, steps(start))


@CHAPTER
def orthogonality() -> Drawn:
    """An isometry is a triangle, and meets its own transpose in the identity: UᵀU = 1."""
    U = tensor("U", "i r", isometry=(1,))
    return equation(U.T @ U, simplify(U.T @ U))


@CHAPTER
def third_moment() -> Drawn:
    """A cubic form of a symmetric tensor, and its gradient."""
    cubic = parse(": T[i:d j:d k:d] x[i:d] x[j:d] x[k:d]")
    return derivative(cubic, "x")
