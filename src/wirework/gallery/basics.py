"""Tensors, products, traces and copies."""

from wirework import copy, einsum, parse, product, tensor, trace
from wirework.equation import Equation, equation
from wirework.gallery.figure import Chapter, Drawn

CHAPTER = Chapter("Tensors, products, traces")
A, B, C = (tensor(name, "i:d j:d") for name in "ABC")


@CHAPTER
def scalar() -> Drawn:
    """A number has no legs."""
    return tensor("c", "")


@CHAPTER
def vector() -> Drawn:
    """A vector has one."""
    return tensor("v", "i")


@CHAPTER
def matrix() -> Drawn:
    """A matrix has two, its first axis to the left.

    It narrows away from its first axis, so that a transpose shows.
    """
    return tensor("A", "i j")


@CHAPTER
def order_three() -> Drawn:
    """A tensor of order three."""
    return tensor("T", "i j k")


@CHAPTER
def order_five() -> Drawn:
    """A tensor of order five; the legs stand in the order of the axes."""
    return tensor("T", "i j k l m")


@CHAPTER
def dot_product() -> Drawn:
    """Joining two legs sums over their index. With no leg left open, the value is a number."""
    return einsum("i,i->", "x", "y")


@CHAPTER
def matrix_vector() -> Drawn:
    """A matrix times a vector."""
    return tensor("A", "i j") @ tensor("x", "j")


@CHAPTER
def matrix_product() -> Drawn:
    """A product of matrices is a chain."""
    return tensor("A", "i j") @ tensor("B", "j k")


@CHAPTER
def chain() -> Drawn:
    """So is a longer one."""
    return A @ B @ C @ tensor("x", "j:d")


@CHAPTER
def bilinear_form() -> Drawn:
    """A matrix between two vectors."""
    return einsum("i,ij,j->", "x", "A", "y")


@CHAPTER
def transpose() -> Drawn:
    """The transpose is the same tensor, turned round: (AB)ᵀ = BᵀAᵀ."""
    return equation((A @ B).T, (B.T @ A.T)(j="j", i="i"))


@CHAPTER
def gram() -> Drawn:
    """The Gram matrix of the columns."""
    W = tensor("W", "i r")
    return W.T @ W


@CHAPTER
def trace_of_a_matrix() -> Drawn:
    """A trace joins the two legs of one tensor."""
    return trace(A, "i", "j")


@CHAPTER
def cyclic_trace() -> Drawn:
    """A trace does not care where the loop begins: both sides are one diagram."""
    return equation(trace(A @ B @ C, "i", "j"), trace(C @ A @ B, "i", "j"))


@CHAPTER
def frobenius_norm() -> Drawn:
    """The squared Frobenius norm."""
    return einsum("ij,ij->", "A", "A")


@CHAPTER
def outer_product() -> Drawn:
    """Tensors that stand side by side, with nothing joined, make the outer product."""
    return product(tensor("x", "i"), tensor("y", "j"))


@CHAPTER
def kronecker_product() -> Drawn:
    """So do matrices: the Kronecker product."""
    return product(tensor("A", "i j"), tensor("B", "k l"))


@CHAPTER
def mixed_product() -> Drawn:
    """The mixed-product rule, (A ⊗ B)(C ⊗ D) = AC ⊗ BD: nothing to prove, the diagrams agree."""
    return einsum("ij,kl,jm,ln->ikmn", "A", "B", "C", "D")


@CHAPTER
def partial_trace() -> Drawn:
    """A partial trace."""
    return einsum("ikjk->ij", "T")


@CHAPTER
def copy_tensor() -> Drawn:
    """The copy tensor is one where all of its indices agree, and zero elsewhere: a dot."""
    return copy("i:d j:d k:d")


@CHAPTER
def identity() -> Drawn:
    """A copy with two legs is the identity: a wire."""
    return copy("i:d j:d")


@CHAPTER
def hadamard_product() -> Drawn:
    """Dots write elementwise products."""
    return einsum("ij,ij->ij", "A", "B")


@CHAPTER
def diagonal_matrix() -> Drawn:
    """A vector on a dot is a diagonal matrix."""
    return einsum("i,ij->ij", "v", "A")


@CHAPTER
def sum_of_rows() -> Drawn:
    """A dot with one leg is a vector of ones, and sums."""
    return einsum("ij->i", "A")


@CHAPTER
def batched_product() -> Drawn:
    """A batch of matrix products: the batch index is copied to both, and kept."""
    return einsum("bij,bjk->bik", "A", "B")


@CHAPTER
def fused_copies() -> Drawn:
    """Joined dots are one dot."""
    two = product(copy("i:d j:d m:d"), copy("m:d k:d l:d"), [("m", "m")])
    return Equation((two, copy("i:d j:d k:d l:d")), ("=",))


@CHAPTER
def sum_of_diagrams() -> Drawn:
    """Diagrams with the same open legs can be added: the commutator."""
    return A @ B - B @ A


@CHAPTER
def expanded_square() -> Drawn:
    """Products distribute over sums."""
    I = copy("i:d j:d")  # noqa: E741
    return parse("i:d j:d: A[i:d k:d] A[k:d j:d]") + 2 * A + I
