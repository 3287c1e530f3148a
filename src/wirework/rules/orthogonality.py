"""An isometry joined to its conjugate is the identity: W^T W = 1."""

from wirework.derivative import cut
from wirework.diagram import Diagram, Open, Port, Tensor
from wirework.rules.identity import identity


def orthogonality(diagram: Diagram) -> Diagram | None:
    """Replace the first isometry that is joined to its conjugate, along all legs but its bonds."""
    for number, node in enumerate(diagram.nodes):
        if not isinstance(node, Tensor) or not node.isometry:
            continue
        for other in range(number + 1, len(diagram.nodes)):
            if _undone(diagram, number, other):
                return _joined(diagram, number, other, node.isometry)
    return None


def _undone(diagram: Diagram, number: int, other: int) -> bool:
    a, b = diagram.nodes[number], diagram.nodes[other]
    assert isinstance(a, Tensor)
    if not isinstance(b, Tensor) or a.name != b.name or a.isometry != b.isometry:
        return False
    if not a.real and a.conjugate == b.conjugate:
        return False
    wires = {frozenset(wire) for wire in diagram.wires}
    rest = [leg for leg in range(len(a.legs)) if leg not in a.isometry]
    return all({Port(number, leg), Port(other, leg)} in wires for leg in rest)


def _joined(diagram: Diagram, number: int, other: int, bonds: tuple[int, ...]) -> Diagram:
    """Leave both out, and join what was on their bonds."""
    names = [f"bond {place} {leg}" for place in (number, other) for leg in bonds]
    legs = range(len(diagram.nodes[number].legs))
    for place in (other, number):  # from the last on, so that the number before stays
        diagram = cut(diagram, place, [f"bond {place} {leg}" for leg in legs])
    opened = {one.leg.name: one.port for one in diagram.open}
    gone = {port.node for name, port in opened.items() if name.startswith("bond ")}
    gone -= {opened[name].node for name in names}
    # Between two open stubs there was a wire; at a bond there is something.
    wires = [(opened[names[k]], opened[names[k + len(bonds)]]) for k in range(len(bonds))]
    rest = [place for place in range(len(diagram.nodes)) if place not in gone]

    def moved(port: Port) -> Port:
        return Port(rest.index(port.node), port.leg)

    kept = [wire for wire in diagram.wires if wire[0].node not in gone]
    found = Diagram(
        tuple(diagram.nodes[place] for place in rest),
        tuple((moved(a), moved(b)) for a, b in (*kept, *wires)),
        tuple(
            Open(one.leg, moved(one.port))
            for one in diagram.open
            if not one.leg.name.startswith("bond ")
        ),
    )
    while (simpler := identity(found)) is not None:
        found = simpler
    return found
