"""Copies that are joined are one copy."""

from wirework.diagram import Copy, Diagram, Leg, Open, Port


def fusion(diagram: Diagram) -> Diagram | None:
    """Fuse the first two copies that are joined, or take a loop off a copy.

    What stays of copies without other legs is a loop, which is the size of its dimension.
    """
    for first, second in diagram.wires:
        one, other = diagram.nodes[first.node], diagram.nodes[second.node]
        if not (isinstance(one, Copy) and isinstance(other, Copy)):
            continue
        gone = _between(diagram, {first.node, second.node})
        both = sorted({first.node, second.node})
        kept = [
            Port(node, leg)
            for node in both
            for leg in range(len(diagram.nodes[node].legs))
            if Port(node, leg) not in gone
        ]
        if kept:
            return _fused(diagram, both, kept, diagram.leg(first))
        if len(both) == 2 or len(one.legs) > 2:
            return _fused(diagram, both, [], diagram.leg(first))
    return None


def _between(diagram: Diagram, nodes: set[int]) -> set[Port]:
    """Ports of wires that run within these nodes."""
    inner = [wire for wire in diagram.wires if wire[0].node in nodes and wire[1].node in nodes]
    return {port for wire in inner for port in wire}


def _fused(diagram: Diagram, gone: list[int], kept: list[Port], leg: Leg) -> Diagram:
    rest = [number for number in range(len(diagram.nodes)) if number not in gone]
    dot = len(rest)
    place = {port: Port(dot, number) for number, port in enumerate(kept)}

    def moved(port: Port) -> Port:
        return place[port] if port in place else Port(rest.index(port.node), port.leg)

    inner = _between(diagram, set(gone))
    wires = [(moved(a), moved(b)) for a, b in diagram.wires if a not in inner]
    legs = tuple(diagram.leg(port) for port in kept)
    if not kept:
        legs, wires = (leg, leg), [*wires, (Port(dot, 0), Port(dot, 1))]
    return Diagram(
        (*(diagram.nodes[number] for number in rest), Copy(legs)),
        tuple(wires),
        tuple(Open(one.leg, moved(one.port)) for one in diagram.open),
    )
