"""Decompositions of a tensor where it stands in a diagram: SVD, QR, eigenvalues, tensor trains.

Each takes an expression, the name of a tensor and the arrays, puts factors in the tensor's place,
and says how much they lack. Factors of `W` are called `W.U` and so on, their bonds `W.bond`;
isometries are marked as such, and singular values are a vector on the wire between.
"""

from collections.abc import Sequence

from wirework.diagram import Expression, Leg, Tensor
from wirework.errors import DiagramError
from wirework.factors import (
    Decomposed,
    allowed,
    at,
    axes,
    decomposed,
    find,
    free,
    kept,
    labels,
    network,
    new_bond,
    sides,
    spectrum,
    unfolded,
)
from wirework.functions import Array, library
from wirework.values import Arrays


def svd(
    expression: Expression,
    name: str,
    left: str,
    *,
    arrays: Arrays,
    rank: int | None = None,
    error: float | None = None,
) -> Decomposed:
    """Split a tensor into two isometries with its singular values on the wire between.

    Args:
        expression: Where the tensor stands, once or many times, within boxes too.
        name: Of the tensor.
        left: Its legs that go to `U`, separated by spaces; the others go to `V`.
        arrays: By name; of numpy or torch, which the factors are too.
        rank: Singular values to keep; all if neither it nor `error` is given.
        error: Relative Frobenius error that is allowed.

    Raises:
        DiagramError: If legs, rank or error do not fit, the array is zero or not finite, or the
            rank would part equal singular values.
        ValueMissingError: If there is no array for the tensor.

    Source: Eckart and Young (1936): no factors of this rank lack less.
    """
    node, array = find(expression, name, arrays)
    first, rest = sides(node, left)
    lost = allowed(array, rank, error)
    u, s, vh = library(array).linalg.svd(unfolded(array, first), full_matrices=False)
    n = kept(s, node, rank, lost)
    bond = new_bond(expression, f"{name}.bond")
    marks = labels(node)
    names = [free(f"{name}.{factor}", arrays) for factor in "USV"]
    outer = [tuple(node.legs[axis] for axis in some) for some in (first, rest)]
    factors = network(
        [
            (Tensor(names[0], (*outer[0], bond), isometry=(len(first),)), [*at(marks, first), "<"]),
            *spectrum(names[1], bond, "<>"),
            (Tensor(names[2], (bond, *outer[1]), isometry=(0,)), [">", *at(marks, rest)]),
        ],
        marks,
    )
    new = {
        names[0]: u[:, :n].reshape(*at(array.shape, first), n),
        names[1]: s[:n],
        names[2]: vh[:n].reshape(n, *at(array.shape, rest)),
    }
    return decomposed(expression, node, factors, {**arrays, **new}, truncated=n < len(s))


def qr(expression: Expression, name: str, left: str, *, arrays: Arrays) -> Decomposed:
    """Split a tensor into an isometry on the legs of the left and what remains; nothing is lost.

    The arguments and errors are those of `svd`.
    """
    node, array = find(expression, name, arrays)
    first, rest = sides(node, left)
    q, r = library(array).linalg.qr(unfolded(array, first))
    bond = new_bond(expression, f"{name}.bond")
    marks = labels(node)
    names = [free(f"{name}.{factor}", arrays) for factor in "QR"]
    outer = [tuple(node.legs[axis] for axis in some) for some in (first, rest)]
    factors = network(
        [
            (Tensor(names[0], (*outer[0], bond), isometry=(len(first),)), [*at(marks, first), "-"]),
            (Tensor(names[1], (bond, *outer[1])), ["-", *at(marks, rest)]),
        ],
        marks,
    )
    new = {
        names[0]: q.reshape(*at(array.shape, first), -1),
        names[1]: r.reshape(-1, *at(array.shape, rest)),
    }
    return decomposed(expression, node, factors, {**arrays, **new}, truncated=False)


def eigen(
    expression: Expression,
    name: str,
    left: str,
    *,
    arrays: Arrays,
    rank: int | None = None,
    error: float | None = None,
) -> Decomposed:
    """Split a square tensor into its eigenvectors, with its eigenvalues on the wire between.

    A symmetric or Hermitian one becomes ``Q diag(L) Q^H`` with an isometry; eigenvalues are in
    falling order of their size, and the largest are kept. Any other becomes ``P diag(L) P^-1``,
    which is complex, and whole.

    The arguments are those of `svd`; the legs on the right are matched to those on the left in
    their order.

    Raises:
        DiagramError: As in `svd`; if the two sides differ in dimensions; if a tensor that is not
            Hermitian is to be truncated, or has too few eigenvectors.
        ValueMissingError: If there is no array for the tensor.
    """
    node, array = find(expression, name, arrays)
    first, rest = sides(node, left)
    dims = [[node.legs[axis].dim for axis in some] for some in (first, rest)]
    if dims[0] != dims[1]:
        raise DiagramError(
            f"expected the same dimensions on both sides of {node}, got {dims[0]} and {dims[1]}. "
            "Only a map of a space to itself has eigenvalues; take the svd, or order the legs."
        )
    lost = allowed(array, rank, error)
    matrix = unfolded(array, first)
    xp = library(array)
    adjoint = matrix.conj().T
    blur = 1e3 * float(xp.finfo(array.dtype).eps) * float(xp.linalg.norm(matrix))
    shape = at(array.shape, first)
    bond = new_bond(expression, f"{name}.bond")
    marks = labels(node)
    outer = [tuple(node.legs[axis] for axis in some) for some in (first, rest)]
    if float(xp.linalg.norm(matrix - adjoint)) <= blur:
        values, vectors = xp.linalg.eigh(matrix)
        order = xp.argsort(-abs(values))
        values, vectors = values[order], vectors[:, order]
        n = kept(abs(values), node, rank, lost)
        q, weights = (free(f"{name}.{factor}", arrays) for factor in ("Q", "L"))
        n_left = len(first)
        turned = "complex" in str(array.dtype)
        parts = [
            (Tensor(q, (*outer[0], bond), isometry=(n_left,)), [*at(marks, first), "<"]),
            *spectrum(weights, bond, "<>"),
            (
                Tensor(q, (*outer[1], bond), conjugate=turned, isometry=(n_left,)),
                [*at(marks, rest), ">"],
            ),
        ]
        new = {q: vectors[:, :n].reshape(*shape, n), weights: values[:n]}
        factors = network(parts, marks)
        return decomposed(expression, node, factors, {**arrays, **new}, truncated=n < len(values))
    if rank is not None or error is not None:
        raise DiagramError(
            f"expected a symmetric or Hermitian array to truncate {node}, got one that is not. "
            "Its eigenvectors are not orthogonal, so that leaving some out has no bound; take the "
            "svd, or keep all."
        )
    return _eigen_of_any(expression, node, matrix, first, rest, arrays)


def _eigen_of_any(
    expression: Expression,
    node: Tensor,
    matrix: Array,
    first: Sequence[int],
    rest: Sequence[int],
    arrays: Arrays,
) -> Decomposed:
    """Split a map that is not Hermitian, whole: its eigenvectors and their inverse."""
    xp, name = library(matrix), node.name
    shape = at(arrays[name].shape, first)
    bond, marks = new_bond(expression, f"{name}.bond"), labels(node)
    outer = [tuple(node.legs[axis] for axis in some) for some in (first, rest)]
    values, vectors = xp.linalg.eig(matrix)
    if not _regular(vectors):
        raise DiagramError(
            f"expected as many eigenvectors as dimensions of {node}, got fewer, to rounding. The "
            "matrix is defective; take the svd."
        )
    p, weights, inverse = (free(f"{name}.{factor}", arrays) for factor in ("P", "L", "inv"))
    parts = [
        (Tensor(p, (*outer[0], bond)), [*at(marks, first), "<"]),
        *spectrum(weights, bond, "<>"),
        (Tensor(inverse, (bond, *outer[1])), [">", *at(marks, rest)]),
    ]
    new = {
        p: vectors.reshape(*shape, -1),
        weights: values,
        inverse: xp.linalg.inv(vectors).reshape(-1, *shape),
    }
    return decomposed(expression, node, network(parts, marks), {**arrays, **new}, truncated=False)


def _regular(vectors: Array) -> bool:
    """Whether a matrix can be inverted to half the digits."""
    xp = library(vectors)
    return float(xp.linalg.cond(vectors)) < float(xp.finfo(vectors.dtype).eps) ** -0.5


def tensor_train(
    expression: Expression,
    name: str,
    order: str,
    *,
    arrays: Arrays,
    rank: int | None = None,
    error: float | None = None,
) -> Decomposed:
    """Split a tensor into a chain of one factor for each leg; all but the last are isometries.

    Args:
        expression: Where the tensor stands.
        name: Of the tensor.
        order: All of its legs, in the order of the chain.
        arrays: By name.
        rank: Most that each bond keeps.
        error: Relative Frobenius error that is allowed for the whole.

    Raises:
        DiagramError: As in `svd`.
        ValueMissingError: If there is no array for the tensor.

    Source: Oseledets (2011), TT-SVD: the squared error is the sum of those of the cuts, and at most
    n - 1 times that of the best train of these ranks.
    """
    node, array = find(expression, name, arrays)
    chain = axes(node, order)
    if len(chain) != len(node.legs) or len(chain) < 2:
        raise DiagramError(
            f"expected all legs of {node}, two at least, got {order!r}. A train has one factor for "
            "each leg; take the svd to cut in two."
        )
    lost = allowed(array, rank, error, len(chain) - 1)
    marks = labels(node)
    rest, before = unfolded(array, chain), 1
    parts: list[tuple[Tensor, list[str]]] = []
    new: dict[str, Array] = {}
    cut_off = False
    left: tuple[Leg, ...] = ()
    for place, axis in enumerate(chain):
        factor, leg = free(f"{name}.{place + 1}", arrays), node.legs[axis]
        ends = [f"bond {place}"] * bool(place) + [marks[axis]]
        if place == len(chain) - 1:
            new[factor] = rest.reshape(*(before,) * bool(place), -1)
            parts.append((Tensor(factor, (*left, leg)), ends))
            break
        matrix = rest.reshape(before * array.shape[axis], -1)
        u, s, vh = library(array).linalg.svd(matrix, full_matrices=False)
        n = kept(s, node, None if rank is None else min(rank, len(s)), lost)
        cut_off |= n < len(s)
        bond = new_bond(expression, f"{name}.bond{place + 1}")
        legs = (*left, leg, bond)
        parts.append(
            (Tensor(factor, legs, isometry=(len(legs) - 1,)), [*ends, f"bond {place + 1}"])
        )
        new[factor] = u[:, :n].reshape(*(before,) * bool(place), array.shape[axis], n)
        rest, before, left = s[:n, None] * vh[:n], n, (bond,)
    return decomposed(expression, node, network(parts, marks), {**arrays, **new}, truncated=cut_off)
