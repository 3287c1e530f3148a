"""Decompositions: SVD, eigen, CP, Tucker, tensor trains, isometries, networks."""

import numpy as np

from wirework import Diagram, Leg, copy, decompose, einsum, parse, product, tensor
from wirework.diagram import Expression, Side
from wirework.gallery.figure import Chapter, Drawn
from wirework.layout import Hints, Relation

CHAPTER = Chapter("Decompositions and networks")


@CHAPTER
def svd() -> Drawn:
    """The singular value decomposition: isometries are triangles, singular values sit on a dot."""
    U = tensor("U", "i r", isometry=(1,))
    V = tensor("V", "j r", isometry=(1,))
    S = product(copy("a:r b:r c:r"), tensor("S", "r"), [("c", "r")])
    return U @ S @ V.T


@CHAPTER
def outer_products() -> Drawn:
    """The same with its index copied: a sum of outer products, each with a weight."""
    return einsum("ir,r,jr->ij", "U", "S", "V")


@CHAPTER
def qr() -> Drawn:
    """A QR decomposition."""
    return tensor("Q", "i r", isometry=(1,)) @ tensor("R", "r j")


@CHAPTER
def eigen() -> Drawn:
    """The eigendecomposition of a symmetric matrix."""
    return einsum("ir,r,jr->ij", "Q", "Lambda", "Q")


@CHAPTER
def cp() -> Drawn:
    """A CP decomposition: the factors of each component share one index, copied to all of them."""
    return einsum("ir,jr,kr->ijk", "A", "B", "C")


@CHAPTER
def tucker() -> Drawn:
    """A Tucker decomposition: a core, and a matrix on each of its legs."""
    return einsum("abc,ia,jb,kc->ijk", "G", "U", "V", "W")


@CHAPTER
def tensor_train() -> Drawn:
    """A tensor train."""
    return parse("i j k l: A[i a] B[a j b] C[b k c] D[c l]")


def core(name: str, *legs: tuple[str, Side]) -> Diagram:
    """A tensor whose legs leave on given sides."""
    return tensor(name, [Leg(leg, leg, side) for leg, side in legs])


@CHAPTER
def inner_product_of_trains() -> Drawn:
    """The inner product of two trains is a ladder.

    ``core`` says on which side each leg leaves, and each lower core is held below its upper one.
    """

    def train(names: str, side: Side) -> Expression:
        a, b, c = names
        first = core(a, ("i", side), ("r", "right"))
        second = core(b, ("r", "left"), ("j", side), ("s", "right"))
        third = core(c, ("s", "left"), ("k", side))
        return product(product(first, second, [("r", "r")]), third, [("s", "s")])

    both = product(train("ABC", "down"), train("DEF", "up"), [(leg, leg) for leg in "ijk"])
    pairs = zip("ABC", "DEF", strict=True)
    held = [Relation(two, "in column with", one) for one, two in pairs]
    return both, Hints(relations=tuple(held))


@CHAPTER
def train_operator() -> Drawn:
    """An operator in train form: what goes in leaves below, what comes out above."""
    first = core("P", ("i", "up"), ("a", "right"), ("l", "down"))
    second = core("Q", ("a", "left"), ("j", "up"), ("b", "right"), ("m", "down"))
    third = core("R", ("b", "left"), ("k", "up"), ("n", "down"))
    return product(product(first, second, [("a", "a")]), third, [("b", "b")])


@CHAPTER
def hierarchical_tucker() -> Drawn:
    """A hierarchical Tucker decomposition is a tree."""
    return parse("i j k l: T[a b] L[a c d] R[b e f] A[c i] B[d j] C[e k] D[f l]")


@CHAPTER
def lattice() -> Drawn:
    """A lattice with an open leg at each corner."""
    first = "A[i a d] B[a b e] C[b j f]"
    second = "D[d c g] E[c e m h] F[m f n]"
    third = "G[k g p] H[p h q] I[q n l]"
    return parse(f"i j k l: {first} {second} {third}")


@CHAPTER
def ring() -> Drawn:
    """A tensor ring: a train whose ends are joined."""
    return parse("i j k l: A[a i b] B[b j c] C[c k d] D[d l a]")


@CHAPTER
def whitening() -> Drawn:
    """Changing the basis of a form: its two legs are turned by one matrix."""
    return einsum("ai,ab,bj->ij", "U", "M", "U")


@CHAPTER
def truncated_svd() -> Drawn:
    """A matrix of real numbers, decomposed where it stands.

    What the truncation leaves out is printed on the factors, and on each bond its dimension.
    """
    rng = np.random.default_rng(0)
    arrays = {"W": rng.standard_normal((8, 6)), "x": rng.standard_normal(6)}
    product = tensor("W", "i j") @ tensor("x", "j")
    cut = decompose.svd(product, "W", "i", arrays=arrays, rank=3)
    return cut.diagram, Hints(sizes=cut.bonds)


@CHAPTER
def truncated_train() -> Drawn:
    """A tensor of order four as a train, its bonds cut to two."""
    array = np.random.default_rng(0).standard_normal((3, 4, 4, 3))
    T = tensor("T", "i j k l")
    cut = decompose.tensor_train(T, "T", "i j k l", arrays={"T": array}, rank=2)
    return cut.diagram, Hints(sizes=cut.bonds)
