"""Copies that are joined are one copy."""

from wirework.diagram import Copy, Diagram, Leg, Node, Open, Port


def fusion(diagram: Diagram) -> Diagram | None:
    """Fuse copies that are joined, and take loops off copies.

    What stays of copies without other legs is a loop, which is the size of its dimension.
    """
    inner = [wire for wire in diagram.wires if all(_is_copy(diagram, port) for port in wire)]
    closed = {port for wire in inner for port in wire}
    nodes: list[Node] = []
    wires: list[tuple[Port, Port]] = []
    place: dict[Port, Port] = {}
    for group in _groups(len(diagram.nodes), inner):
        ports = [Port(n, leg) for n in group for leg in range(len(diagram.nodes[n].legs))]
        kept = [port for port in ports if port not in closed]
        place |= {port: Port(len(nodes), leg) for leg, port in enumerate(kept)}
        if kept == ports:
            nodes.append(diagram.nodes[group[0]])
            continue
        legs = tuple(diagram.leg(port) for port in kept)
        if not kept:
            wires.append((Port(len(nodes), 0), Port(len(nodes), 1)))
            legs: tuple[Leg, ...] = (diagram.leg(ports[0]),) * 2
        nodes.append(Copy(legs))
    if len(nodes) == len(diagram.nodes) and len(wires) == len(inner):
        return None  # only loops that were loops already
    wires = [
        (place[a], place[b]) for a, b in diagram.wires if a not in closed or b not in closed
    ] + wires
    opened = tuple(Open(one.leg, place[one.port]) for one in diagram.open)
    return Diagram(tuple(nodes), tuple(wires), opened)


def _is_copy(diagram: Diagram, port: Port) -> bool:
    return isinstance(diagram.nodes[port.node], Copy)


def _groups(n_nodes: int, wires: list[tuple[Port, Port]]) -> list[list[int]]:
    """Numbers of nodes that wires join, in the order of their first ones."""
    near: list[list[int]] = [[] for _ in range(n_nodes)]
    for first, second in wires:
        near[first.node].append(second.node)
        near[second.node].append(first.node)
    groups: list[list[int]] = []
    seen: set[int] = set()
    for number in range(n_nodes):
        if number in seen:
            continue
        seen.add(number)
        group = [number]
        for member in group:
            fresh = [other for other in dict.fromkeys(near[member]) if other not in seen]
            seen.update(fresh)
            group += fresh
        groups.append(group)
    return groups
