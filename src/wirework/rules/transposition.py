"""A symmetric tensor is its transpose, so that two transpositions cancel."""

from wirework.diagram import Diagram, Open, Port, Tensor


def transposition(diagram: Diagram) -> Diagram | None:
    """Put the legs of a symmetric tensor into the order of what they are joined to.

    Open legs come first, in their own order. Where legs of one group are joined to each other
    nothing is changed.
    """
    order = {one.port: (-1, place) for place, one in enumerate(diagram.open)}
    for first, second in diagram.wires:
        order |= {first: tuple(second), second: tuple(first)}
    for number, node in enumerate(diagram.nodes):
        for group in node.symmetric if isinstance(node, Tensor) else ():
            ports = [Port(number, leg) for leg in sorted(group)]
            wanted = sorted(ports, key=order.__getitem__)
            joined = any(order[port][0] == number for port in ports)
            if wanted != ports and not joined:
                return _moved(diagram, dict(zip(wanted, ports, strict=True)))
    return None


def _moved(diagram: Diagram, place: dict[Port, Port]) -> Diagram:
    return Diagram(
        diagram.nodes,
        tuple((place.get(a, a), place.get(b, b)) for a, b in diagram.wires),
        tuple(Open(one.leg, place.get(one.port, one.port)) for one in diagram.open),
    )
