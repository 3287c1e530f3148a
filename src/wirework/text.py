"""A small text form: ``i k: A[i j] B[j k]``, the open legs and then the tensors."""

import re

from wirework.diagram import Copy, Derivative, Diagram, Function, Leg, Node, Open, Port, Tensor
from wirework.errors import DiagramError

_TENSOR = re.compile(r"\s*([^\s\[\]:*]+)(\*?)\[([^\[\]]*)\]")


def parse(text: str) -> Diagram:
    """Read a diagram.

    Legs of the same name are joined; a name that joins more than two needs a ``copy``. A leg is
    ``name`` or ``name:dimension``, and a dimension holds wherever the name stands.

    Raises:
        DiagramError: If the text is malformed, or a leg is neither joined nor open.

    >>> str(parse("i: A[i j] x[j]"))
    'i: A[i j] x[j]'
    """
    head, colon, body = text.partition(": ") if ": " in text else text.partition(":")
    if not colon:
        raise DiagramError(
            f"expected 'open legs: tensors', got {text!r}. A number has nothing before the colon: "
            "': x[i] y[i]'."
        )
    found, end = [], 0
    while match := _TENSOR.match(body, end):
        found.append(match)
        end = match.end()
    if body[end:].strip():
        raise DiagramError(
            f"expected tensors as NAME[leg leg], got {body[end:].strip()!r} in {text!r}. Legs "
            "stand in brackets, separated by spaces."
        )
    dims: dict[str, str] = {}
    for words in (head, *(match[3] for match in found)):
        for word in words.split():
            name, _, dim = word.partition(":")
            if dim:
                dims[name] = dim
    nodes: list[Node] = []
    ends: dict[str, list[Port]] = {}
    for number, match in enumerate(found):
        names: list[str] = [word.partition(":")[0] for word in match[3].split()]
        legs = tuple(Leg(name, dims.get(name, name)) for name in names)
        kind = Copy(legs) if match[1] == "copy" else Tensor(match[1], legs, (), bool(match[2]))
        nodes.append(kind)
        for leg, name in enumerate(names):
            ends.setdefault(name, []).append(Port(number, leg))
    return _joined(text, nodes, ends, [word.partition(":")[0] for word in head.split()], dims)


def _joined(
    text: str,
    nodes: list[Node],
    ends: dict[str, list[Port]],
    opened: list[str],
    dims: dict[str, str],
) -> Diagram:
    for name in opened:
        if len(ends.get(name, ())) != 1:
            raise DiagramError(
                f"expected one tensor with the open leg {name!r}, got {len(ends.get(name, ()))} in "
                f"{text!r}. A leg that is open and joined goes through a copy with a third leg."
            )
    for name, ports in ends.items():
        if name not in opened and len(ports) != 2:
            where = ", ".join(str(nodes[port.node]) for port in ports)
            raise DiagramError(
                f"expected leg {name!r} to join two legs, got {len(ports)}: {where}. More are "
                "joined by copy[...], and one alone is summed by copy[...] of one leg."
            )
    wires = tuple((ports[0], ports[1]) for name, ports in ends.items() if name not in opened)
    final = tuple(Open(Leg(name, dims.get(name, name)), ends[name][0]) for name in opened)
    return Diagram(tuple(nodes), wires, final)


def write(diagram: Diagram) -> str:
    """Write a diagram so that `parse` reads it back; functions are shown, and not read back."""
    taken = {one.leg.name for one in diagram.open}
    names: dict[Port, str] = {one.port: one.leg.name for one in diagram.open}
    for first, second in diagram.wires:
        name = _free(diagram.leg(first).name, taken)
        taken.add(name)
        names[first] = names[second] = name
    said = []
    for number, node in enumerate(diagram.nodes):
        legs = " ".join(
            _word(names[Port(number, place)], leg.dim) for place, leg in enumerate(node.legs)
        )
        match node:
            case Tensor():
                said.append(f"{node.name}{'*' if node.conjugate else ''}[{legs}]")
            case Copy():
                said.append(f"copy[{legs}]")
            case Function() | Derivative():
                said.append(f"{node}{{{node.inner}}}[{legs}]")
    head = " ".join(_word(leg.name, leg.dim) for leg in diagram.legs)
    return f"{head}: {' '.join(said)}"


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{number}"
    return free


def _word(name: str, dim: str) -> str:
    return name if name == dim else f"{name}:{dim}"
