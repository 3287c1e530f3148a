"""A copy with two legs is a wire."""

from wirework.diagram import Copy, Diagram, Open, Port


def identity(diagram: Diagram) -> Diagram | None:
    """Take out the first copy with two legs that is joined to something.

    What stays: an identity between two open legs, and a loop, which is its dimension.
    """
    ends = {port: other for wire in diagram.wires for port, other in (wire, wire[::-1])}
    for number, node in enumerate(diagram.nodes):
        if not isinstance(node, Copy) or len(node.legs) != 2:
            continue
        first, second = Port(number, 0), Port(number, 1)
        joined = [port for port in (first, second) if port in ends]
        if joined and ends[joined[0]].node != number:
            return _without(diagram, number, ends)
    return None


def _without(diagram: Diagram, number: int, ends: dict[Port, Port]) -> Diagram:
    first, second = Port(number, 0), Port(number, 1)
    here, there = (first, second) if first in ends else (second, first)

    def moved(port: Port) -> Port:
        return Port(port.node - (port.node > number), port.leg)

    kept = [wire for wire in diagram.wires if number not in (wire[0].node, wire[1].node)]
    opened = diagram.open
    if there in ends:
        kept.append((ends[here], ends[there]))
    else:
        opened = tuple(
            Open(one.leg, ends[here]) if one.port == there else one for one in diagram.open
        )
    return Diagram(
        tuple(node for place, node in enumerate(diagram.nodes) if place != number),
        tuple((moved(a), moved(b)) for a, b in kept),
        tuple(Open(one.leg, moved(one.port)) for one in opened),
    )
