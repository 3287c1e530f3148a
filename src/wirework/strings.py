"""Diagrams from einsum and einops strings, and einsum code from diagrams."""

from collections.abc import Sequence

from wirework.diagram import Copy, Diagram, Leg, Node, Open, Port, Tensor
from wirework.errors import DiagramError


def einsum(spec: str, *names: str) -> Diagram:
    """Make a diagram from an einsum string; a tensor may be named many times.

    An index of three or more legs goes through a copy; so does one that is summed and has only one
    leg. Indices of a tensor's same axis have one dimension, named after the first of them.

    Args:
        spec: ``"ij,jk->ik"``, or with words, as in einops, ``"pos d, d head -> pos head"``.
        names: The tensors, one for each operand.

    Raises:
        DiagramError: If the string is malformed, or does not fit the names.

    >>> str(einsum("ij,j->i", "A", "x"))
    'i: A[i j] x[j]'
    """
    operands, output = _split(spec)
    if len(operands) != len(names):
        raise DiagramError(
            f"expected a name for each of the {len(operands)} operands of {spec!r}, got "
            f"{len(names)}. Operands are separated by commas."
        )
    dims = _dims(operands, names)
    nodes: list[Node] = [
        Tensor(name, tuple(Leg(index, dims[index]) for index in operand))
        for name, operand in zip(names, operands, strict=True)
    ]
    ends: dict[str, list[Port]] = {}
    for number, operand in enumerate(operands):
        for leg, index in enumerate(operand):
            ends.setdefault(index, []).append(Port(number, leg))
    wires: list[tuple[Port, Port]] = []
    opened: dict[str, Port] = {}
    for index, ports in ends.items():
        n_legs = len(ports) + (index in output)
        if n_legs == 2:
            if index in output:
                opened[index] = ports[0]
            else:
                wires.append((ports[0], ports[1]))
            continue
        dot = len(nodes)
        nodes.append(Copy(tuple(Leg(index, dims[index]) for _ in range(n_legs))))
        wires += [(port, Port(dot, leg)) for leg, port in enumerate(ports)]
        if index in output:
            opened[index] = Port(dot, len(ports))
    final = tuple(Open(Leg(index, dims[index]), opened[index]) for index in output)
    return Diagram(tuple(nodes), tuple(wires), final)


def _split(spec: str) -> tuple[list[list[str]], list[str]]:
    """Operands and output as lists of indices."""
    left, arrow, right = spec.partition("->")
    words = " " in left.replace(", ", ",").strip() or " " in right.strip()
    if "." in spec or "(" in spec:
        raise DiagramError(
            f"expected plain indices, got {spec!r}. Ellipses and groups of axes are not supported; "
            "name every axis."
        )

    def indices(text: str) -> list[str]:
        return text.split() if words else list(text.strip())

    operands = [indices(text) for text in left.split(",")]
    every = [index for operand in operands for index in operand]
    if not arrow:
        _require_no_hidden_sum(spec, operands)
        return operands, sorted({index for index in every if every.count(index) == 1})
    output = indices(right)
    for index in output:
        if index not in every or output.count(index) > 1:
            raise DiagramError(
                f"expected each output index once, and in an operand, got {index!r} in {spec!r}. "
                "Check the spelling of the output."
            )
    return operands, output


def _require_no_hidden_sum(spec: str, operands: Sequence[Sequence[str]]) -> None:
    every = [index for operand in operands for index in operand]
    for index in every:
        if every.count(index) > 2:
            where = [number for number, operand in enumerate(operands, 1) if index in operand]
            raise DiagramError(
                f"expected an output for {spec!r}, got none, and index {index!r} joins operands "
                f"{where}. Without an output it would be summed in silence; write it: '-> ...'."
            )


def _dims(operands: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """One name for the dimension of each index; axes of one tensor are the same dimension."""
    parent: dict[str, str] = {}

    def root(index: str) -> str:
        while parent.setdefault(index, index) != index:
            index = parent[index]
        return index

    first: dict[str, Sequence[str]] = {}
    for name, operand in zip(names, operands, strict=True):
        known = first.setdefault(name, operand)
        if len(known) != len(operand):
            raise DiagramError(
                f"expected the same number of legs wherever {name!r} stands, got {len(known)} and "
                f"{len(operand)}. Equal names are the same array; give the other one another name."
            )
        for index, other in zip(operand, known, strict=True):
            parent[root(index)] = root(other)
    return {index: root(index) for operand in operands for index in operand}
