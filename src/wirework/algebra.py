"""Building diagrams from diagrams: join, product, sum, scale, rename, transpose, apply, replace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wirework.diagram import (
    Box,
    Copy,
    Diagram,
    Expression,
    Function,
    Leg,
    Node,
    Open,
    Port,
    Sum,
    Tensor,
    of_node,
    terms,
)
from wirework.errors import DiagramError
from wirework.rules.identity import identity


def matmul(a: Expression, b: Expression) -> Expression:
    """Join the last open leg of `a` to the first of `b`, as a matrix product does.

    An open leg of `b` whose name is taken gets a prime, so that ``A @ A.T`` has legs i and i'.

    Raises:
        DiagramError: If one has no open leg, or the two differ in dimension.
    """
    for one in (a, b):
        if not one.legs:
            raise DiagramError(
                f"expected an open leg on both sides of @, got none on {one}. It is a number; "
                "multiply with `wirework.product`."
            )
    taken = {leg.name for leg in a.legs[:-1]}
    names = {}
    for leg in b.legs[1:]:
        fresh = leg.name
        while fresh in taken:
            fresh += "'"
        taken.add(fresh)
        if fresh != leg.name:
            names[leg.name] = fresh
    first = b.legs[0].name
    # Out of the way of primes that were just given.
    b = rename(b, {**names, first: f"{first} of @"})
    return product(a, b, [(a.legs[-1].name, f"{first} of @")])


def product(a: Expression, b: Expression, joined: Sequence[tuple[str, str]] = ()) -> Expression:
    """Put two side by side, and join open legs of one to open legs of the other.

    Args:
        a: Its open legs come first in the result.
        b: Its open legs come after them.
        joined: Pairs of names: a leg of `a`, a leg of `b`.

    Returns:
        A diagram; a sum, by distribution, if one of them is a sum.

    Raises:
        DiagramError: If there is no such leg, dimensions differ, or a name would be open twice.
    """
    if isinstance(a, Diagram) and isinstance(b, Diagram):
        return _product(a, b, joined)
    kept = [leg for leg in a.legs if leg.name not in {one for one, _ in joined}]
    kept += [leg for leg in b.legs if leg.name not in {other for _, other in joined}]
    pairs = [(c * d, _product(x, y, joined)) for c, x in terms(a) for d, y in terms(b)]
    return Sum(tuple(pairs), tuple(kept))


def _product(a: Diagram, b: Diagram, joined: Sequence[tuple[str, str]]) -> Diagram:
    b = shifted(b, len(a.nodes))
    left = {one.leg.name: one for one in a.open}
    right = {one.leg.name: one for one in b.open}
    wires = [*a.wires, *b.wires]
    for one, other in joined:
        wires.append((_pop(left, one, a).port, _pop(right, other, b).port))
    opened = (*left.values(), *right.values())
    return Diagram((*a.nodes, *b.nodes), tuple(wires), opened)


def shifted(diagram: Diagram, by: int) -> Diagram:
    """The same diagram, as if its nodes were numbered from `by`; only for putting into another."""

    def moved(port: Port) -> Port:
        return Port(port.node + by, port.leg)

    # Not a diagram by itself, so it is made without the checks.
    made = object.__new__(Diagram)
    object.__setattr__(made, "nodes", diagram.nodes)
    object.__setattr__(made, "wires", tuple((moved(p), moved(q)) for p, q in diagram.wires))
    object.__setattr__(made, "open", tuple(Open(o.leg, moved(o.port)) for o in diagram.open))
    return made


def trace(a: Expression, first: str, second: str) -> Expression:
    """Join two open legs of one expression.

    Raises:
        DiagramError: If there is no such leg, or dimensions differ.
    """
    if isinstance(a, Sum):
        kept = tuple(leg for leg in a.legs if leg.name not in (first, second))
        return Sum(tuple((c, _trace(d, first, second)) for c, d in a.terms), kept)
    return _trace(a, first, second)


def _trace(a: Diagram, first: str, second: str) -> Diagram:
    opened = {one.leg.name: one for one in a.open}
    wire = _pop(opened, first, a).port, _pop(opened, second, a).port
    return Diagram(a.nodes, (*a.wires, wire), tuple(opened.values()))


def add(a: Expression, b: Expression) -> Expression:
    """Add; legs of the same name are the same axis.

    Raises:
        DiagramError: If the open legs differ.
    """
    if b.legs and not terms(b):
        return a
    return Sum((*terms(a), *terms(b)), a.legs)


def scale(a: Expression, factor: float | int) -> Sum:
    """Multiply with a number."""
    return Sum(tuple((float(factor) * c, term) for c, term in terms(a)), a.legs)


def rename(a: Expression, names: Mapping[str, str]) -> Expression:
    """Give open legs other names.

    Raises:
        DiagramError: If there is no such leg, or two would have the same name.
    """
    known = {leg.name for leg in a.legs}
    for name in names:
        if name not in known:
            raise DiagramError(_no_leg(name, a))
    if isinstance(a, Sum):
        shape = tuple(_named(leg, names) for leg in a.shape)
        kept = tuple((c, rename(term, names)) for c, term in a.terms)
        return Sum(kept, shape)  # pyright: ignore[reportArgumentType]
    opened = tuple(Open(_named(one.leg, names), one.port) for one in a.open)
    return replace(a, open=opened)


def _named(leg: Leg, names: Mapping[str, str]) -> Leg:
    return replace(leg, name=names.get(leg.name, leg.name))


def transpose(a: Expression, order: Sequence[str]) -> Expression:
    """Put the open legs into another order.

    Raises:
        DiagramError: If `order` does not name each open leg once.
    """
    if sorted(order) != sorted(leg.name for leg in a.legs):
        raise DiagramError(
            f"expected each of the open legs {[leg.name for leg in a.legs]} once, got "
            f"{list(order)}. A leg is neither dropped nor added by a transposition; use `trace` "
            "or `product`."
        )
    if isinstance(a, Sum):
        shape = {leg.name: leg for leg in a.shape}
        kept = tuple((c, transpose(term, order)) for c, term in a.terms)
        return Sum(kept, tuple(shape[name] for name in order))  # pyright: ignore[reportArgumentType]
    by_name = {one.leg.name: one for one in a.open}
    return replace(a, open=tuple(by_name[name] for name in order))


def apply(name: str, a: Expression, along: str = "") -> Diagram:
    """Apply a function: a box around the expression.

    Args:
        name: A key of `wirework.functions.FUNCTIONS`.
        a: What it is applied to.
        along: Open legs along which it acts, separated by spaces; none if it is elementwise.

    Raises:
        DiagramError: If the function is unknown, a leg is, or legs are missing.
    """
    from wirework.functions import check

    legs = tuple(along.split())
    for leg in legs:
        if leg not in {one.name for one in a.legs}:
            raise DiagramError(_no_leg(leg, a))
    check(name, legs)
    return of_node(Function(name, a, legs))


def cut(term: Diagram, number: int, names: Sequence[str]) -> Diagram:
    """Take a node out; what its legs were joined to is open, under the names given for them."""
    node = term.nodes[number]
    stubs: list[Copy] = []
    found: dict[int, Port] = {}

    def moved(port: Port) -> Port:
        return Port(port.node - (port.node > number), port.leg)

    def stub(*legs: int) -> Port:
        stubs.append(Copy((node.legs[legs[0]],) * 2))
        here = len(term.nodes) - 2 + len(stubs)
        found.update({leg: Port(here, 1 - place) for place, leg in enumerate(legs)})
        return Port(here, 0)

    wires: list[tuple[Port, Port]] = []
    for first, second in term.wires:
        if first.node == second.node == number:
            stub(first.leg, second.leg)
        elif first.node == number:
            found[first.leg] = moved(second)
        elif second.node == number:
            found[second.leg] = moved(first)
        else:
            wires.append((moved(first), moved(second)))
    opened = [
        Open(one.leg, stub(one.port.leg) if one.port.node == number else moved(one.port))
        for one in term.open
    ]
    for place, (name, leg) in enumerate(zip(names, node.legs, strict=True)):
        opened.append(Open(Leg(name, leg.dim), found[place]))
    kept = [*term.nodes[:number], *term.nodes[number + 1 :], *stubs]
    return Diagram(tuple(kept), tuple(wires), tuple(opened))


def put(term: Diagram, number: int, expression: Expression) -> Expression:
    """Put an expression in place of a node: its open legs, in order, in place of the node's legs.

    Open legs that it has beyond those stay open, after the others.
    """
    names = [f"{leg.name} of {number}" for leg in expression.legs[: len(term.nodes[number].legs)]]
    fresh = {leg.name: name for leg, name in zip(expression.legs, names, strict=False)}
    rest = cut(term, number, names)
    joined = product(rest, rename(expression, fresh), [(name, name) for name in names])
    return _each(joined, lambda one: identity(one) or one)


def substitute(expression: Expression, name: str, other: Expression) -> Expression:
    """Put an expression in place of a tensor wherever it stands, within boxes too.

    Args:
        expression: What holds the tensor.
        name: Of the tensor.
        other: Its open legs, in order, take the place of the tensor's; it is conjugated where the
            tensor is.
    """
    found: list[tuple[float, Diagram]] = []
    for coefficient, term in terms(expression):
        nodes = tuple(
            replace(node, inner=substitute(node.inner, name, other))
            if isinstance(node, Box)
            else node
            for node in term.nodes
        )
        new: Expression = replace(term, nodes=nodes)
        places = [
            n for n, node in enumerate(nodes) if isinstance(node, Tensor) and node.name == name
        ]
        # From the last on, so that the numbers of those before stay.
        for place in reversed(places):
            node = nodes[place]
            assert isinstance(node, Tensor)
            new = _put_each(new, place, conjugate(other) if node.conjugate else other)
        found += [(coefficient * c, one) for c, one in terms(new)]
    if isinstance(expression, Diagram) and len(found) == 1 and found[0][0] == 1:
        return found[0][1]
    return Sum(tuple(found), expression.legs)


def _put_each(expression: Expression, number: int, other: Expression) -> Expression:
    if isinstance(expression, Diagram):
        return put(expression, number, other)
    parts = [(c * d, x) for c, one in expression.terms for d, x in terms(put(one, number, other))]
    return Sum(tuple(parts), expression.legs)


def conjugate(a: Expression) -> Expression:
    """The complex conjugate; that of a box is taken inside, as functions have real series."""

    def flipped(node: Node) -> Node:
        if isinstance(node, Tensor):
            return replace(node, conjugate=not node.conjugate)
        return replace(node, inner=conjugate(node.inner)) if isinstance(node, Box) else node

    return _each(a, lambda one: replace(one, nodes=tuple(map(flipped, one.nodes))))


def _each(a: Expression, change: Callable[[Diagram], Diagram]) -> Expression:
    if isinstance(a, Diagram):
        return change(a)
    return Sum(tuple((c, change(term)) for c, term in a.terms), a.legs)


def _pop(opened: dict[str, Open], name: str, a: Expression) -> Open:
    if name not in opened:
        raise DiagramError(_no_leg(name, a))
    return opened.pop(name)


def _no_leg(name: str, a: Expression) -> str:
    known = ", ".join(leg.name for leg in a.legs) or "none"
    return (
        f"expected the name of an open leg, got {name!r}; open are: {known}. It was probably "
        "joined already, or it has another name."
    )
