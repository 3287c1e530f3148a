"""A copy with two legs is a wire."""

from wirework.diagram import Copy, Diagram, Open, Port


def identity(diagram: Diagram) -> Diagram | None:
    """Take out the copies with two legs that are joined to something.

    What stays: an identity between two open legs, and a loop, which is its dimension.
    """
    ends = {port: other for wire in diagram.wires for port, other in (wire, wire[::-1])}
    lines = {
        number
        for number, node in enumerate(diagram.nodes)
        if isinstance(node, Copy) and len(node.legs) == 2
    }
    gone: set[int] = set()
    wires: list[tuple[Port, Port]] = []
    opened: dict[Port, Port] = {}
    for number in sorted(lines):
        if number in gone:
            continue
        row = {number}
        first = _end(Port(number, 0), ends, lines, row)
        second = _end(Port(number, 1), ends, lines, row)
        if first.node in lines and second.node in lines:
            # Nothing but lines, between two open legs or in a circle: one of them stays.
            lines -= row
            gone |= row - {number}
            if first in ends:
                wires.append((Port(number, 0), Port(number, 1)))
            opened |= {first: Port(number, 0), second: Port(number, 1)}
            continue
        gone |= row
        if first.node in lines or second.node in lines:
            outer, inner = (first, second) if first.node in lines else (second, first)
            opened[outer] = inner
        else:
            wires.append((first, second))
        lines -= row
    return _without(diagram, gone, wires, opened) if gone else None


def _end(port: Port, ends: dict[Port, Port], lines: set[int], row: set[int]) -> Port:
    """Follow a line from a port outwards: what it is joined to, or its last port if that is open.

    In a circle, the port where it began. Lines on the way are put into `row`.
    """
    begun = port
    while port in ends:
        other = ends[port]
        if other.node not in lines:
            return other
        row.add(other.node)
        port = Port(other.node, 1 - other.leg)
        if port == begun:
            break
    return port


def _without(
    diagram: Diagram, gone: set[int], wires: list[tuple[Port, Port]], opened: dict[Port, Port]
) -> Diagram:
    kept = [number for number in range(len(diagram.nodes)) if number not in gone]
    place = {number: new for new, number in enumerate(kept)}

    def moved(port: Port) -> Port:
        return Port(place[port.node], port.leg)

    still = {port for wire in wires for port in wire}
    before = [
        wire
        for wire in diagram.wires
        if not ({port.node for port in wire} & gone or set(wire) & still)
    ]
    return Diagram(
        tuple(diagram.nodes[number] for number in kept),
        tuple((moved(a), moved(b)) for a, b in (*before, *wires)),
        tuple(Open(one.leg, moved(opened.get(one.port, one.port))) for one in diagram.open),
    )
