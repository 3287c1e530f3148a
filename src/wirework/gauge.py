"""The gauge of a bond: ``A B^T`` is ``(A R) (B R^-T)^T`` for every R that has an inverse.

A bond joins a leg of one tensor to a leg of another wherever they stand, as `d_head` joins `W_Q` to
`W_K`. Only the arrays change with its gauge, and no value does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wirework.diagram import Box, Diagram, Expression, Port, Tensor, terms
from wirework.errors import DiagramError
from wirework.factors import find, unfolded
from wirework.functions import Array, library, permute
from wirework.values import Arrays


class Bond(NamedTuple):
    """A leg of each of two tensors."""

    left: str
    left_axis: int
    right: str
    right_axis: int


@dataclass(frozen=True)
class Gauged:
    """Arrays in another gauge."""

    arrays: Arrays
    """Those given, the two tensors changed."""
    values: Array
    """Singular values of the product along the bond, which no gauge changes."""


def bond(expression: Expression, left: str, right: str, *, leg: str | None = None) -> Bond:
    """Find the bond between two tensors.

    Args:
        expression: Where both stand.
        left: Name of one tensor.
        right: Name of the other.
        leg: Name of the leg of `left`, where they are joined by several.

    Raises:
        DiagramError: If they are not joined, or by several legs, or one of them also stands where
            its leg is not joined to that leg of the other.
    """
    joined = {
        (here, there)
        for term in _terms(expression)
        for port, other in _ends(term)
        if (here := _place(term, port, leg)) and here.name == left
        if (there := _place(term, other)) and there.name == right
    }
    if left == right or len(joined) != 1:
        raise DiagramError(
            f"expected one wire between {left!r} and {right!r}, two tensors, got {len(joined)}. "
            "A gauge belongs to a bond; name the leg if there are several: leg='d_head'."
        )
    ((here, there),) = joined
    for term in _terms(expression):
        ends = dict(_ends(term))
        for number, node in enumerate(term.nodes):
            for one, wanted in ((here, there), (there, here)):
                if not isinstance(node, Tensor) or node.name != one.name:
                    continue
                other = ends.get(Port(number, one.axis))
                met = None if other is None else term.nodes[other.node]
                fits = isinstance(met, Tensor) and met.conjugate == node.conjugate
                if other is None or not fits or _place(term, other) != wanted:
                    raise DiagramError(
                        f"expected leg {node.legs[one.axis].name!r} of {node} joined to "
                        f"{wanted.name!r} everywhere, got {met or 'an open end'}. What else uses "
                        "it would change with the gauge; give the array another name there."
                    )
    return Bond(here.name, here.axis, there.name, there.axis)


def regauge(
    expression: Expression,
    left: str,
    right: str,
    change: Array,
    *,
    arrays: Arrays,
    leg: str | None = None,
) -> dict[str, Array]:
    """Put ``R R^-1`` on the bond, and let each tensor take its half: ``A R`` and ``B R^-T``.

    Args:
        expression: Where both stand; its value stays.
        left: Name of the tensor that takes `change`.
        right: Name of the tensor that takes the inverse.
        change: R, as large as the bond; rows are joined to `left`.
        arrays: By name.
        leg: As for `bond`.

    Raises:
        DiagramError: As in `bond`; or if R is of another size, or has no inverse.
    """
    found = bond(expression, left, right, leg=leg)
    a, b = _matrices(expression, found, arrays)
    xp = library(change)
    n = a.shape[1]
    if tuple(change.shape) != (n, n) or float(xp.linalg.cond(change)) > 1e12:
        raise DiagramError(
            f"expected a matrix of {n} by {n} with an inverse for the bond of {left!r} and "
            f"{right!r}, got shape {tuple(change.shape)}. One that is singular loses what it maps "
            "to zero; check its condition number."
        )
    return _replaced(found, arrays, a @ change, xp.linalg.solve(change, b.T).T)


def canonical(
    expression: Expression, left: str, right: str, *, arrays: Arrays, leg: str | None = None
) -> Gauged:
    """Put a bond into its canonical gauge, the same for all pairs that differ by a gauge.

    With the SVD ``A B^T = U S V^H`` these are ``U S^1/2`` and ``conj(V) S^1/2``, in falling order,
    the largest entry of each column on the left positive. The product is not built: it takes a QR
    of each tensor, and an SVD as large as the bond.

    The arguments are those of `regauge`.

    Raises:
        DiagramError: As in `bond`; or if two singular values other than zero are equal, where there
            is no such gauge.
    """
    found = bond(expression, left, right, leg=leg)
    a, b = _matrices(expression, found, arrays)
    xp = library(a)
    (qa, ra), (qb, rb) = xp.linalg.qr(a), xp.linalg.qr(b)
    u, s, vh = xp.linalg.svd(ra @ rb.T, full_matrices=False)
    blur = 1e3 * float(xp.finfo(a.dtype).eps) * float(s[0])
    for n in range(len(s) - 1):
        if s[n] > blur >= s[n] - s[n + 1]:
            raise DiagramError(
                f"expected different singular values for the bond of {left!r} and {right!r}, got "
                f"{float(s[n]):.4g} twice. Its directions may be turned among themselves, so that "
                "none is canonical; compare singular values instead."
            )
    columns, others = qa @ u, qb @ vh.T
    lead = _lead(columns)
    sign = lead / abs(lead)
    # What is zero but for rounding has no direction that any two gauges would agree on.
    root = (s * (s > blur)) ** 0.5
    halves = [
        xp.concatenate([turned * root, 0 * one[:, len(s) :]], 1)
        for turned, one in ((columns * sign.conj(), a), (others * sign, b))
    ]
    return Gauged(_replaced(found, arrays, *halves), s)


def invariants(
    expression: Expression, left: str, right: str, *, arrays: Arrays, leg: str | None = None
) -> Array:
    """Singular values of the product along a bond, which no gauge changes; it is not built.

    The arguments and errors are those of `bond`.
    """
    found = bond(expression, left, right, leg=leg)
    ra, rb = (library(one).linalg.qr(one)[1] for one in _matrices(expression, found, arrays))
    return library(ra).linalg.svd(ra @ rb.T, full_matrices=False)[1]


def _lead(columns: Array) -> Array:
    """The largest entry of each column; of several that are, but for rounding, the first."""
    xp = library(columns)
    large = (abs(columns) >= (1 - 1e-6) * xp.amax(abs(columns), 0)) * 1
    first = large * (xp.cumsum(large, 0) == 1)
    return (columns * first).sum(0)


class _Place(NamedTuple):
    """A leg of a tensor, wherever that stands."""

    name: str
    axis: int


def _place(term: Diagram, port: Port, leg: str | None = None) -> _Place | None:
    node = term.nodes[port.node]
    if not isinstance(node, Tensor) or (leg and node.legs[port.leg].name != leg):
        return None
    return _Place(node.name, port.leg)


def _terms(expression: Expression) -> Iterator[Diagram]:
    """Every diagram, those within boxes too."""
    for _, term in terms(expression):
        yield term
        for node in term.nodes:
            if isinstance(node, Box):
                yield from _terms(node.inner)


def _ends(term: Diagram) -> Iterator[tuple[Port, Port]]:
    for first, second in term.wires:
        yield first, second
        yield second, first


def _matrices(expression: Expression, found: Bond, arrays: Arrays) -> tuple[Array, Array]:
    """Both tensors, with the bond as columns."""
    pairs = ((found.left, found.left_axis), (found.right, found.right_axis))
    a, b = (_matrix(find(expression, name, arrays)[1], axis) for name, axis in pairs)
    return a, b


def _matrix(array: Array, axis: int) -> Array:
    return unfolded(array, [other for other in range(array.ndim) if other != axis])


def _replaced(found: Bond, arrays: Arrays, a: Array, b: Array) -> dict[str, Array]:
    new = dict(arrays)
    for name, axis, matrix in (
        (found.left, found.left_axis, a),
        (found.right, found.right_axis, b),
    ):
        shape = list(arrays[name].shape)
        folded = matrix.reshape(*(shape[:axis] + shape[axis + 1 :]), shape[axis])
        order = [*range(axis), len(shape) - 1, *range(axis, len(shape) - 1)]
        new[name] = permute(folded, order)
    return new
