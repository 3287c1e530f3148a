"""A delta that is summed over one of its indices is a delta without it."""

from wirework.diagram import Copy, Diagram, Open, Port


def delta(diagram: Diagram) -> Diagram | None:
    """Take a leg off a copy where another copy ends it: the sum over j of delta_ij is one."""
    for wire in diagram.wires:
        for end, dot in (wire, wire[::-1]):
            one, other = diagram.nodes[end.node], diagram.nodes[dot.node]
            ends = isinstance(one, Copy) and len(one.legs) == 1
            if ends and isinstance(other, Copy) and len(other.legs) > 1:
                return _without(diagram, end.node, dot)
    return None


def _without(diagram: Diagram, end: int, dot: Port) -> Diagram:
    def moved(port: Port) -> Port:
        leg = port.leg - (port.node == dot.node and port.leg > dot.leg)
        return Port(port.node - (port.node > end), leg)

    nodes = list(diagram.nodes)
    legs = nodes[dot.node].legs
    nodes[dot.node] = Copy(legs[: dot.leg] + legs[dot.leg + 1 :])
    del nodes[end]
    return Diagram(
        tuple(nodes),
        tuple((moved(a), moved(b)) for a, b in diagram.wires if dot not in (a, b)),
        tuple(Open(one.leg, moved(one.port)) for one in diagram.open),
    )
