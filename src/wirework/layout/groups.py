"""Frames around some nodes of a diagram: they are laid out as one node with a diagram within."""

from collections.abc import Sequence
from dataclasses import dataclass

from wirework.diagram import Diagram, Function, Leg, Node, Open, Port
from wirework.errors import DiagramError


@dataclass(frozen=True)
class Grouped(Function):
    """Nodes in a frame: a function that does nothing, so that a diagram can hold it.

    The open legs of `inner` are named by numbers.
    """

    own: tuple[Leg, ...] = ()
    """The same legs by their own names."""
    nodes: tuple[int, ...] = ()
    """The nodes' numbers in the whole diagram."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The legs that leave the frame."""
        return self.own

    def __str__(self) -> str:
        """The title."""
        return self.name


def grouped(
    diagram: Diagram, groups: Sequence[tuple[str, Sequence[int]]]
) -> tuple[Diagram, list[int]]:
    """Put the nodes of each group into one.

    Returns:
        A diagram, and for each node the number of the node that it is, or is in, there.

    Raises:
        DiagramError: If a node is in two groups, or a group is empty.
    """
    home = _homes(diagram, groups)
    inner_ports: list[list[Port]] = [[] for _ in groups]
    kept = {
        port
        for p, q in diagram.wires
        if home[p.node] is not None and home[p.node] == home[q.node]
        for port in (p, q)
    }
    for port in diagram.ports():
        group = home[port.node]
        if group is not None and port not in kept:
            inner_ports[group].append(port)
    made: list[Node] = []
    place: list[int] = [0] * len(diagram.nodes)
    known: dict[int, int] = {}
    for node, inside in enumerate(diagram.nodes):
        group = home[node]
        if group is None:
            place[node] = len(made)
            made.append(inside)
        elif group in known:
            place[node] = known[group]
        else:
            place[node] = known[group] = len(made)
            made.append(_within(diagram, groups[group][0], home, group, inner_ports[group]))

    def moved(port: Port) -> Port:
        group = home[port.node]
        leg = port.leg if group is None else inner_ports[group].index(port)
        return Port(place[port.node], leg)

    wires = [
        (moved(p), moved(q))
        for p, q in diagram.wires
        if home[p.node] is None or home[p.node] != home[q.node]
    ]
    opened = tuple(Open(one.leg, moved(one.port)) for one in diagram.open)
    return Diagram(tuple(made), tuple(wires), opened), place


def _homes(diagram: Diagram, groups: Sequence[tuple[str, Sequence[int]]]) -> list[int | None]:
    home: list[int | None] = [None] * len(diagram.nodes)
    for number, (title, nodes) in enumerate(groups):
        if not nodes:
            raise DiagramError(
                f"expected at least one node in each group, got none in {title!r}. A frame stands "
                "around something; leave the group out, or name its nodes."
            )
        for node in nodes:
            if home[node] not in (None, number):
                other = groups[home[node] or 0][0]
                raise DiagramError(
                    f"expected each node in one group at most, got {diagram.nodes[node]} in "
                    f"{other!r} and {title!r}. Frames side by side cannot share a node; take it "
                    "out of one of them."
                )
            home[node] = number
    return home


def _within(
    diagram: Diagram, title: str, home: list[int | None], group: int, ports: list[Port]
) -> Grouped:
    nodes = tuple(node for node, one in enumerate(home) if one == group)
    place = {node: number for number, node in enumerate(nodes)}
    wires = tuple(
        (Port(place[p.node], p.leg), Port(place[q.node], q.leg))
        for p, q in diagram.wires
        if home[p.node] == group == home[q.node]
    )
    legs = tuple(diagram.leg(port) for port in ports)
    opened = tuple(
        Open(Leg(str(number), leg.dim), Port(place[port.node], port.leg))
        for number, (leg, port) in enumerate(zip(legs, ports, strict=True))
    )
    inner = Diagram(tuple(diagram.nodes[node] for node in nodes), wires, opened)
    return Grouped(title, inner, (), legs, nodes)
