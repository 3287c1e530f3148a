"""What decompositions share: the tensor, how much of it to keep, and the result with its error."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wirework.algebra import conjugate, product, substitute
from wirework.diagram import (
    Box,
    Copy,
    Diagram,
    Expression,
    Leg,
    Node,
    Open,
    Port,
    Sum,
    Tensor,
    nodes_of,
    terms,
)
from wirework.errors import DiagramError, ValueMissingError
from wirework.functions import Array, library, permute
from wirework.values import Arrays, evaluate, sizes_of

DIRECT = 2**24
"""Elements of a value up to which its norm is taken directly, which is more exact than to contract
it with its conjugate."""


@dataclass(frozen=True)
class Decomposed:
    """A diagram in which factors stand for a tensor, and what that has changed."""

    diagram: Expression
    arrays: Arrays
    """Those that were given, and the factors."""
    error: float
    """Frobenius norm of what the factors lack, relative to that of the tensor; measured."""
    name: str
    """Of the tensor that was decomposed; its array is still among `arrays`."""
    factors: Diagram
    """The factors alone, with the tensor's legs open, in its order."""
    before: Expression
    """The diagram as it was."""
    converged: bool = True
    """False if an iteration was stopped before it came to rest; then `error` may be too high."""
    sweeps: int = 0
    """Of the iteration, if there was one."""

    @property
    def bonds(self) -> dict[str, int]:
        """Sizes of the dimensions between factors, by name; ``Hints(sizes=...)`` prints them."""
        outer = {leg.dim for leg in self.factors.legs}
        sizes = sizes_of(self.factors, self.arrays)
        return {dim: size for dim, size in sizes.items() if dim not in outer}

    @property
    def fit(self) -> float:
        """One minus the relative error."""
        return 1 - self.error

    def bound(
        self, *, sizes: Mapping[str, int] | None = None, memory_limit: int | None = None
    ) -> float:
        """How far the truncation moves the value at most, as a Frobenius norm.

        The tensor is exchanged for its factors at one place after another, and the norms of what
        each exchange changes are added up. Where it stands once, that is the distance itself.

        Args:
            sizes: As for `wirework.evaluate`.
            memory_limit: As for `wirework.evaluate`.

        Raises:
            DiagramError: If the tensor stands within a box, as a function may stretch an error.
        """
        whole = self.arrays[self.name]
        near = evaluate(self.factors, self.arrays)
        arrays = {**self.arrays, f"{self.name} near": near, f"{self.name} lost": whole - near}
        return sum(
            norm(piece, arrays, sizes=sizes, memory_limit=memory_limit)
            for piece in _exchanges(self.before, self.name)
        )


def _exchanges(expression: Expression, name: str) -> Iterator[Sum]:
    """What changes with the first place where the tensor stands, with the second, and so on."""
    rows: list[list[tuple[float, Diagram]]] = []
    for coefficient, term in terms(expression):
        for node in term.nodes:
            if isinstance(node, Box) and name in node.inner.tensors:
                raise DiagramError(
                    f"expected {name!r} outside of boxes, got it in {node}. A function may stretch "
                    "an error without bound; compare the two values for the inputs at hand."
                )
        nodes = list(term.nodes)
        row = 0
        for number, node in enumerate(nodes):
            if isinstance(node, Tensor) and node.name == name:
                nodes[number] = replace(node, name=f"{name} lost")
                rows += [[]] * (row == len(rows))
                rows[row] = [*rows[row], (coefficient, replace(term, nodes=tuple(nodes)))]
                nodes[number] = replace(node, name=f"{name} near")
                row += 1
    for row in rows:
        yield Sum(tuple(row), expression.legs)


def norm(
    expression: Expression,
    arrays: Arrays,
    *,
    sizes: Mapping[str, int] | None = None,
    memory_limit: int | None = None,
) -> float:
    """Frobenius norm of a value; a large one is contracted with its conjugate, and not built."""
    known = sizes_of(expression, arrays, sizes)
    n_elements = math.prod(known[leg.dim] for leg in expression.legs)
    if n_elements <= min(DIRECT, memory_limit or DIRECT):
        value = evaluate(expression, arrays, sizes=known, memory_limit=memory_limit)
        return float(library(value).linalg.norm(value.reshape(-1)))
    pairs = [(leg.name, leg.name) for leg in expression.legs]
    square = product(expression, conjugate(expression), pairs)
    value = evaluate(square, arrays, sizes=known, memory_limit=memory_limit)
    return math.sqrt(max(float(value.real), 0.0))


def find(expression: Expression, name: str, arrays: Arrays) -> tuple[Tensor, Array]:
    """The tensor that is to be decomposed, and its array.

    Raises:
        DiagramError: If it does not occur, or its array is zero, not finite, or no floating number.
        ValueMissingError: If there is no array, or one with other axes.
    """
    node = next((n for n in nodes_of(expression) if isinstance(n, Tensor) and n.name == name), None)
    if node is None:
        raise DiagramError(
            f"expected a tensor among {', '.join(expression.tensors) or 'none'}, got {name!r}. "
            "Names are those of arrays; check the spelling."
        )
    if name not in arrays or len(arrays[name].shape) != len(node.legs):
        came = f"shape {tuple(arrays[name].shape)}" if name in arrays else "none"
        raise ValueMissingError(
            f"expected an array with {len(node.legs)} axes for {node}, got {came}. A decomposition "
            f"is one of numbers; pass arrays={{{name!r}: ...}}."
        )
    array = arrays[name]
    if str(array.dtype).rpartition(".")[2] not in ("float32", "float64", "complex64", "complex128"):
        raise DiagramError(
            f"expected an array of at least single precision for {node}, got {array.dtype}. "
            "Neither library decomposes others; convert it first."
        )
    size = float(library(array).linalg.norm(array.reshape(-1)))
    if not (math.isfinite(size) and size > 0):
        raise DiagramError(
            f"expected a finite array other than zero for {node}, got one of norm {size:.3g}. Zero "
            "has no directions; say zero=True of the tensor, or look for what was not loaded."
        )
    return node, array


def axes(node: Tensor, legs: str) -> tuple[int, ...]:
    """Numbers of the legs that are named, separated by spaces.

    Raises:
        DiagramError: If there is no such leg, or one is named twice.
    """
    names = [leg.name for leg in node.legs]
    wanted = legs.split()
    if not set(wanted) <= set(names) or len(set(wanted)) < len(wanted):
        raise DiagramError(
            f"expected legs of {node}, each once, got {legs!r}. Legs are named as where the tensor "
            "stands first; they may have another name there."
        )
    return tuple(names.index(name) for name in wanted)


def sides(node: Tensor, left: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes on the left of a cut, and the others.

    Raises:
        DiagramError: If there is none on one side.
    """
    first = axes(node, left)
    rest = tuple(axis for axis in range(len(node.legs)) if axis not in first)
    if not first or not rest:
        raise DiagramError(
            f"expected legs on both sides of the cut of {node}, got {left!r} on the left. A matrix "
            "has rows and columns; leave at least one leg for each."
        )
    return first, rest


def unfolded(array: Array, left: Sequence[int]) -> Array:
    """As a matrix: axes of the left as rows, the others as columns."""
    rest = [axis for axis in range(array.ndim) if axis not in left]
    n_rows = math.prod(array.shape[axis] for axis in left)
    return permute(array, (*left, *rest)).reshape(n_rows, -1)


def kept(values: Array, node: Tensor, rank: int | None, lost: float | None) -> int:
    """How many of the falling singular values to keep.

    Args:
        values: In falling order.
        node: For messages.
        rank: How many, or None.
        lost: Norm of those that may be left out, or None.

    Raises:
        DiagramError: If `rank` is out of range, or would part equal values.
    """
    sigma = np.asarray(values.detach().cpu() if library(values).__name__ == "torch" else values)
    blur = 1e3 * float(np.finfo(sigma.dtype).eps) * float(sigma[0])

    def parts(n: int) -> bool:
        inside = 0 < n < len(sigma)
        return inside and bool(sigma[n - 1] > blur >= sigma[n - 1] - sigma[n])

    if rank is None:
        tails = np.append(np.sqrt(np.cumsum(sigma[::-1] ** 2))[::-1], 0.0)
        n = len(sigma) if lost is None else max(1, int(np.argmax(tails <= lost)))
        while parts(n):
            n += 1
        return n
    if not 1 <= rank <= len(sigma):
        raise DiagramError(
            f"expected a rank from 1 to {len(sigma)} for {node}, got {rank}. There are no more "
            "directions on the smaller side of the cut."
        )
    if parts(rank):
        free = [n for n in range(1, len(sigma) + 1) if not parts(n)]
        raise DiagramError(
            f"expected a rank that keeps equal singular values of {node} together, got {rank} "
            f"between {sigma[rank - 1]:.4g} and {sigma[rank]:.4g}. Which of their directions stay "
            f"would be up to rounding; take {min(free, key=lambda n: abs(n - rank))}."
        )
    return rank


def allowed(array: Array, rank: object, error: float | None, n_cuts: int = 1) -> float | None:
    """Norm that may be lost at each of some cuts whose losses add up as squares.

    Raises:
        DiagramError: If there is both a rank and an error, or the error is not in [0, 1).
    """
    if error is None:
        return None
    if rank is not None or not 0 <= error < 1:
        raise DiagramError(
            f"expected a rank, or a relative error from 0 up to 1, got rank {rank} and error "
            f"{error}. One follows from the other; give one of them."
        )
    return error * float(library(array).linalg.norm(array.reshape(-1))) / math.sqrt(n_cuts)


def free(name: str, taken: Sequence[str] | Mapping[str, object]) -> str:
    """A name with as many primes as it needs."""
    while name in taken:
        name += "'"
    return name


def new_bond(expression: Expression, dim: str) -> Leg:
    """A leg of a dimension that does not occur yet."""
    fresh = free(dim, {leg.dim: leg for node in nodes_of(expression) for leg in node.legs})
    return Leg(fresh.rpartition(".")[2], fresh)


def at(row: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """What stands at some places of a row."""
    return [row[place] for place in places]


def labels(node: Tensor) -> list[str]:
    """Names of the legs, told apart by primes where two are alike."""
    found: list[str] = []
    for leg in node.legs:
        found.append(free(leg.name, found))
    return found


def network(parts: Sequence[tuple[Node, Sequence[str]]], opened: Sequence[str]) -> Diagram:
    """Join nodes where the labels of their legs are the same; those of open legs stand once."""
    ends: dict[str, list[Port]] = {}
    for number, (_, marks) in enumerate(parts):
        for leg, mark in enumerate(marks):
            ends.setdefault(mark, []).append(Port(number, leg))
    wires = [(ports[0], ports[1]) for mark, ports in ends.items() if mark not in opened]
    nodes = tuple(node for node, _ in parts)
    outer = [(mark, ends[mark][0]) for mark in opened]
    return Diagram(
        nodes,
        tuple(wires),
        tuple(Open(Leg(mark, nodes[at.node].legs[at.leg].dim), at) for mark, at in outer),
    )


def spectrum(name: str, bond: Leg, marks: Sequence[str]) -> list[tuple[Node, Sequence[str]]]:
    """Weights on a wire: a vector on the copy that joins all marks."""
    dot = Copy((bond,) * (len(marks) + 1))
    return [(dot, (*marks, f"{name} weights")), (Tensor(name, (bond,)), (f"{name} weights",))]


def decomposed(
    expression: Expression,
    node: Tensor,
    factors: Diagram,
    arrays: Arrays,
    *,
    truncated: bool,
    converged: bool = True,
    sweeps: int = 0,
) -> Decomposed:
    """Put factors in place of a tensor, and measure what they lack."""
    whole = arrays[node.name]
    lost = whole - evaluate(factors, arrays)
    size = library(whole).linalg.norm
    error = float(size(lost.reshape(-1)) / size(whole.reshape(-1)))
    nodes = tuple(
        replace(
            factor,
            error=error if truncated else None,
            real="complex" not in str(arrays[factor.name].dtype),
        )
        if isinstance(factor, Tensor)
        else factor
        for factor in factors.nodes
    )
    factors = replace(factors, nodes=nodes)
    diagram = substitute(expression, node.name, factors)
    return Decomposed(diagram, arrays, error, node.name, factors, expression, converged, sweeps)
