"""An isometry joined to its conjugate is the identity: W^T W = 1."""

from wirework.diagram import Copy, Diagram, Leg, Open, Port, Tensor
from wirework.rules.identity import identity


def orthogonality(diagram: Diagram) -> Diagram | None:
    """Replace the first isometry that is joined to its conjugate, along all legs but its bonds."""
    ends = {port: other for wire in diagram.wires for port, other in (wire, wire[::-1])}
    for number, node in enumerate(diagram.nodes):
        if not isinstance(node, Tensor) or not node.isometry:
            continue
        rest = [leg for leg in range(len(node.legs)) if leg not in node.isometry]
        if not rest or (there := ends.get(Port(number, rest[0]))) is None:
            continue
        other = there.node
        if other > number and all(ends.get(Port(number, n)) == Port(other, n) for n in rest):
            if _undoes(node, diagram.nodes[other]):
                return _joined(diagram, number, other, node.isometry)
    return None


def _undoes(a: Tensor, b: object) -> bool:
    if not isinstance(b, Tensor) or a.name != b.name or a.isometry != b.isometry:
        return False
    return a.real or a.conjugate != b.conjugate


def _joined(diagram: Diagram, number: int, other: int, bonds: tuple[int, ...]) -> Diagram:
    """Put a line for each bond in place of both, and take it out where it is joined."""
    kept = [place for place in range(len(diagram.nodes)) if place not in (number, other)]
    new = {place: position for position, place in enumerate(kept)}
    line = {bond: len(kept) + position for position, bond in enumerate(bonds)}

    def moved(port: Port) -> Port:
        if port.node in new:
            return Port(new[port.node], port.leg)
        return Port(line[port.leg], int(port.node == other))

    legs: list[Leg] = [diagram.nodes[number].legs[bond] for bond in bonds]
    nodes = (*(diagram.nodes[place] for place in kept), *(Copy((leg, leg)) for leg in legs))
    gone = {
        Port(place, leg)
        for place in (number, other)
        for leg in range(len(diagram.nodes[number].legs))
        if leg not in bonds
    }
    wires = tuple((moved(a), moved(b)) for a, b in diagram.wires if a not in gone)
    found = Diagram(nodes, wires, tuple(Open(one.leg, moved(one.port)) for one in diagram.open))
    return identity(found) or found
