"""A diagram: tensors with ordered legs, wires between legs, and legs left open.

Two legs are joined by a wire; a wire that forks goes through a `Copy`, so that nothing is ever
summed or repeated in silence. Diagrams do not change; what alters one returns another.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from wirework.errors import DiagramError

Side = Literal["left", "right", "up", "down"]
"""Where a leg leaves its tensor in the drawing; it has no bearing on the value."""


@dataclass(frozen=True)
class Leg:
    """One index of a tensor."""

    name: str
    dim: str
    """Name of its dimension; legs that are joined have the same."""
    side: Side | None = None
    """None: as the layout likes."""

    def __str__(self) -> str:
        """As a user writes it."""
        return self.name if self.name == self.dim else f"{self.name}:{self.dim}"


@dataclass(frozen=True)
class Tensor:
    """An array by name: equal names are the same array."""

    name: str
    legs: tuple[Leg, ...]
    """In the order of the array's axes."""
    symmetric: tuple[tuple[int, ...], ...] = ()
    """Groups of legs that may be exchanged without changing the array."""
    conjugate: bool = False
    real: bool = True
    isometry: tuple[int, ...] = ()
    """The bonds of an isometry: joined to its conjugate along all other legs, it is the identity on
    these. A matrix with orthonormal columns has (1,)."""
    zero: bool = False
    error: float | None = None
    """Relative truncation error (Frobenius) of the decomposition that it is a factor of."""

    def __str__(self) -> str:
        """Name and legs."""
        return f"{self.name}{'*' if self.conjugate else ''}[{' '.join(map(str, self.legs))}]"


@dataclass(frozen=True)
class Copy:
    """Ones where all indices are equal, zeros elsewhere; a dot in the drawing.

    Two legs are the identity, one leg is a vector of ones.
    """

    legs: tuple[Leg, ...]

    def __str__(self) -> str:
        """As its number of legs."""
        return f"copy[{' '.join(map(str, self.legs))}]"


@dataclass(frozen=True)
class Function:
    """A function of an expression, drawn as a box around it; its legs are the open ones inside."""

    name: str
    """A key of `wirework.functions.FUNCTIONS`."""
    inner: "Expression"
    along: tuple[str, ...] = ()
    """Legs along which it acts (softmax, norms); empty if it acts on every element."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The open legs of what is inside."""
        return self.inner.legs

    def __str__(self) -> str:
        """Name and axes."""
        return f"{self.name}({', '.join(self.along)})"


@dataclass(frozen=True)
class Derivative:
    """The derivative by a tensor, not carried out; drawn as a loop around what is differentiated.

    `wirework.nabla` makes one, `wirework.expand` carries it out.
    """

    inner: "Expression"
    name: str
    """Of the tensor."""
    fresh: tuple[Leg, ...]
    """One leg for each of the tensor's, which come after those inside."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The open legs of what is inside, and then those of the tensor."""
        return (*self.inner.legs, *self.fresh)

    def __str__(self) -> str:
        """As its operator."""
        return f"d/d{self.name}"


Box = Function | Derivative
"""Nodes that are drawn around an expression, `inner`."""
Node = Tensor | Copy | Box


class Port(NamedTuple):
    """A leg of a node, by their numbers."""

    node: int
    leg: int


class Open(NamedTuple):
    """A leg that is left open: an axis of the diagram's value."""

    leg: Leg
    port: Port


class _Algebra:
    """The operators that diagrams and sums share; `wirework.algebra` says what each does."""

    def __matmul__(self: Any, other: Any) -> Any:
        from wirework.algebra import matmul

        return matmul(self, other)

    def __add__(self: Any, other: Any) -> Any:
        from wirework.algebra import add

        return add(self, other)

    def __sub__(self: Any, other: Any) -> Any:
        from wirework.algebra import add, scale

        return add(self, scale(other, -1))

    def __mul__(self: Any, factor: float | int) -> Any:
        from wirework.algebra import scale

        return scale(self, factor)

    __rmul__ = __mul__

    def __neg__(self: Any) -> Any:
        from wirework.algebra import scale

        return scale(self, -1)

    @property
    def T(self: Any) -> Any:  # noqa: N802 (numpy's name)
        """The open legs in the reverse order: the transpose of a matrix."""
        from wirework.algebra import transpose

        return transpose(self, tuple(leg.name for leg in reversed(self.legs)))

    def __call__(self: Any, **names: str) -> Any:
        """Rename open legs: ``A(j="k")``."""
        from wirework.algebra import rename

        return rename(self, names)

    def _repr_svg_(self: Any) -> str:
        from wirework.emit import draw

        return draw(self)


@dataclass(frozen=True)
class Diagram(_Algebra):
    """Nodes, the wires between their legs, and the legs left open in the order of the value's axes.

    Raises:
        DiagramError: If a leg is used twice or not at all, if joined legs differ in dimension, or
            if two open legs have the same name.
    """

    nodes: tuple[Node, ...]
    wires: tuple[tuple[Port, Port], ...]
    open: tuple[Open, ...]

    def __post_init__(self) -> None:
        """Check that every leg has one end, and that dimensions fit."""
        ends = [port for wire in self.wires for port in wire] + [one.port for one in self.open]
        n_legs = [len(node.legs) for node in self.nodes]
        if not (
            len(ends) == len(set(ends)) == sum(n_legs)
            and all(0 <= n < len(n_legs) and 0 <= leg < n_legs[n] for n, leg in ends)
        ):
            raise DiagramError(_misused(self, Counter(ends)))
        for first, second in self.wires:
            _require_same_dim(self, first, second)
        names = Counter(one.leg.name for one in self.open)
        if twice := [name for name, count in names.items() if count > 1]:
            raise DiagramError(
                f"expected open legs of different names, got {twice[0]!r} twice. Two tensors "
                'probably bring a leg of that name; rename one of them: A(i="k").'
            )

    def ports(self) -> Iterator[Port]:
        """Every leg of every node."""
        for number, node in enumerate(self.nodes):
            for leg in range(len(node.legs)):
                yield Port(number, leg)

    def leg(self, port: Port) -> Leg:
        """The leg at a port."""
        return self.nodes[port.node].legs[port.leg]

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The open legs, in the order of the value's axes."""
        return tuple(one.leg for one in self.open)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the arrays, each once, those within functions too."""
        names: dict[str, None] = {}
        for node in self.nodes:
            if isinstance(node, Tensor):
                names[node.name] = None
            elif isinstance(node, Box):
                names.update(dict.fromkeys(node.inner.tensors))
        return tuple(names)

    def __str__(self) -> str:
        """In the text form that `wirework.parse` reads."""
        from wirework.text import write

        return write(self)


@dataclass(frozen=True)
class Sum(_Algebra):
    """A weighted sum of diagrams with the same open legs."""

    terms: tuple[tuple[float, Diagram], ...]
    """Coefficient and diagram; none is zero only with `shape`."""
    shape: tuple[Leg, ...] = ()
    """The open legs, if there are no terms."""

    def __post_init__(self) -> None:
        """Check that terms have the same legs, and put them into the same order."""
        if not self.terms:
            return
        legs = self.terms[0][1].legs
        ordered = []
        for coefficient, term in self.terms:
            if {leg.name: leg.dim for leg in term.legs} != {leg.name: leg.dim for leg in legs}:
                raise DiagramError(
                    f"expected terms with the same open legs, got [{_said(legs)}] and "
                    f"[{_said(term.legs)}]. Only what has the same axes can be added; rename "
                    "legs, or join those that are left over."
                )
            if [leg.name for leg in term.legs] != [leg.name for leg in legs]:
                by_name = {one.leg.name: one for one in term.open}
                term = replace(term, open=tuple(by_name[leg.name] for leg in legs))
            ordered.append((coefficient, term))
        object.__setattr__(self, "terms", tuple(ordered))
        object.__setattr__(self, "shape", legs)

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The open legs, in the order of the value's axes."""
        return self.shape

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the arrays, each once."""
        return tuple(dict.fromkeys(name for _, term in self.terms for name in term.tensors))

    def __str__(self) -> str:
        """Terms with their coefficients."""
        return " + ".join(f"{c:g} * ({term})" for c, term in self.terms) or "0"


Expression = Diagram | Sum


def terms(expression: Expression) -> tuple[tuple[float, Diagram], ...]:
    """Coefficients and diagrams; a diagram is a sum of one."""
    return ((1.0, expression),) if isinstance(expression, Diagram) else expression.terms


def nodes_of(expression: Expression) -> Iterator[Node]:
    """Every node of every term, those within boxes after their box."""
    for _, term in terms(expression):
        for node in term.nodes:
            yield node
            if isinstance(node, Box):
                yield from nodes_of(node.inner)


def tensor(name: str, legs: str | Sequence[Leg], **kind: Any) -> Diagram:
    """A tensor by itself, all legs open.

    Args:
        name: Of the array.
        legs: In the order of its axes, separated by spaces; ``name`` or ``name:dimension``.
        kind: Other fields of `Tensor`.

    >>> A = tensor("A", "i:d j:d")
    >>> [str(leg) for leg in (A @ A).legs]
    ['i:d', 'j:d']
    """
    parsed = tuple(map(_leg, legs.split())) if isinstance(legs, str) else tuple(legs)
    return of_node(Tensor(name, parsed, **kind))


def copy(legs: str) -> Diagram:
    """A copy tensor by itself, all legs open: ``copy("i:d j:d k:d")``."""
    return of_node(Copy(tuple(map(_leg, legs.split()))))


def of_node(node: Node) -> Diagram:
    """The diagram of one node, all legs open."""
    opened = tuple(Open(leg, Port(0, number)) for number, leg in enumerate(node.legs))
    return Diagram((node,), (), opened)


def _leg(text: str) -> Leg:
    name, _, dim = text.partition(":")
    return Leg(name, dim or name)


def _said(legs: Sequence[Leg]) -> str:
    return " ".join(map(str, legs))


def _misused(diagram: Diagram, used: Counter[Port]) -> str:
    for port in diagram.ports():
        node, leg, times = diagram.nodes[port.node], diagram.leg(port), used.pop(port, 0)
        if times == 0:
            return (
                f"expected every leg to be joined or open, got leg {leg.name!r} of {node} "
                "dangling. A leg that ends nowhere is neither summed nor kept; join it to a copy "
                "with one leg to sum over it, or leave it open."
            )
        if times > 1:
            return (
                f"expected every leg to have one end, got leg {leg.name!r} of {node} with {times}. "
                "More than two legs are joined through a copy."
            )
    return (
        f"expected wires between legs that exist, got {sorted(used)} as (node, leg). "
        f"There are {len(diagram.nodes)} nodes; a number is probably off by one."
    )


def _require_same_dim(diagram: Diagram, first: Port, second: Port) -> None:
    one, other = diagram.leg(first), diagram.leg(second)
    if one.dim != other.dim:
        nodes = diagram.nodes
        raise DiagramError(
            f"expected joined legs of one dimension, got {one.name!r} of {nodes[first.node]} with "
            f"{one.dim!r} and {other.name!r} of {nodes[second.node]} with {other.dim!r}. Either "
            "the wrong legs are joined, or one dimension has two names; name it once: i:d."
        )
