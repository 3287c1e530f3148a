"""A diagram: its connected parts beside and above each other, and frames with what is in them."""

from collections.abc import Sequence

from wirework.diagram import Copy, Derivative, Diagram, Function, Node, Port, Sum, Tensor
from wirework.errors import DiagramError
from wirework.layout import network as networks
from wirework.layout.blocks import Block, block_of, frame_block
from wirework.layout.constraints import Fixed
from wirework.layout.free import freely_drawn, moved_centres
from wirework.layout.groups import Grouped, grouped
from wirework.layout.piece import Margin, Piece, framed
from wirework.layout.poses import Graph
from wirework.layout.scene import Point

BETWEEN = 18.0
"""Between parts that are not connected."""


def diagram_piece(diagram: Diagram, fixed: Fixed | None = None, *, inside: bool = False) -> Piece:
    """Lay out a diagram.

    Args:
        diagram: What is laid out.
        fixed: Hints, by the numbers of nodes.
        inside: Whether it is within a frame, so that open legs have no names and reach the margin.
    """
    place = list(range(len(diagram.nodes)))
    if fixed and fixed.groups:
        diagram, place = grouped(diagram, fixed.groups)
    blocks = [_block(node) for node in diagram.nodes]
    margins = _margins(diagram, inside)
    parts = _components(diagram)
    made = [_part(diagram, blocks, margins, part, inside) for part in parts]
    piece = _packed(diagram, made, parts)
    if fixed is None or not (fixed.pins or fixed.relations):
        return piece
    return _as_fixed(diagram, blocks, piece, _moved(fixed, blocks, place, diagram))


def _as_fixed(diagram: Diagram, blocks: list[Block], piece: Piece, fixed: Fixed) -> Piece:
    """The same blocks, where hints want them."""
    shapes = [piece.shapes[piece.centres[node]] for node in range(len(blocks))]
    before = [Point(shape.x, shape.y) for shape in shapes]
    centres = moved_centres(diagram, blocks, before, fixed)
    names = {one.port: one.leg.name for one in diagram.open}
    return freely_drawn(diagram, blocks, centres, names)


def _moved(fixed: Fixed, blocks: list[Block], place: list[int], diagram: Diagram) -> Fixed:
    """Hints for nodes in groups, as hints for the groups."""
    pins: dict[int, Point] = {}
    for node, at in fixed.pins.items():
        x, y, inner = at.x, at.y, diagram.nodes[place[node]]
        if isinstance(inner, Grouped):
            piece = blocks[place[node]].inner or Piece()
            shape = piece.shapes[piece.centres[inner.nodes.index(node)]]
            x, y = x - shape.x, y - shape.y
        if pins.setdefault(place[node], Point(x, y)) != (x, y):
            raise DiagramError(
                f"expected one pin in a group, got several in {inner}. What is in a frame moves "
                "together; pin one of its nodes."
            )
    relations = []
    for one, how, other in fixed.relations:
        if place[one] == place[other]:
            raise DiagramError(
                f"expected a relation between two nodes, got {how!r} within "
                f"{diagram.nodes[place[one]]}. They are the same node, or in the same group, which "
                "is laid out by itself; name another."
            )
        relations.append((place[one], how, place[other]))
    return Fixed(pins, relations)


def _block(node: Node) -> Block:
    if isinstance(node, Tensor | Copy):
        return block_of(node)
    inner = node.inner
    if isinstance(inner, Sum):
        from wirework.layout.page import sum_piece

        piece = sum_piece(inner)
        piece.endings = {}
    else:
        piece = diagram_piece(inner, inside=True)
    keys = [leg.name for leg in inner.legs]
    if isinstance(node, Derivative):
        return frame_block(framed(piece, "loop", "", str(node)), node.legs, keys)
    title = node.name if isinstance(node, Grouped) else node.name.replace("_", " ")
    if isinstance(node, Function) and node.along:
        title = f"{title} ({', '.join(node.along)})"
    return frame_block(framed(piece, "frame", title, str(node)), node.legs, keys)


def _margins(diagram: Diagram, inside: bool) -> dict[Port, Margin | None]:
    """The first open leg ends left and the last one right; those between where they like."""
    found: dict[Port, Margin | None] = {one.port: None for one in diagram.open}
    ports = list(found)
    for port in ports if inside else ports[:1]:
        found[port] = "left" if port == ports[0] else "right"
    if len(ports) > 1:
        found[ports[-1]] = "right"
    return found


def _components(diagram: Diagram) -> list[list[int]]:
    """Connected parts, each with the node first from which it is laid out."""
    near: list[list[int]] = [[] for _ in diagram.nodes]
    for p, q in diagram.wires:
        near[p.node].append(q.node)
        near[q.node].append(p.node)
    roots = [one.port.node for one in diagram.open]
    seen: set[int] = set()
    found: list[list[int]] = []
    for root in (*roots, *range(len(diagram.nodes))):
        if root in seen:
            continue
        part, waiting = [root], [root]
        seen.add(root)
        while waiting:
            for other in near[waiting.pop()]:
                if other not in seen:
                    seen.add(other)
                    part.append(other)
                    waiting.append(other)
        found.append([root, *sorted(part[1:])])
    return found


def _part(
    diagram: Diagram,
    blocks: list[Block],
    margins: dict[Port, Margin | None],
    part: list[int],
    inside: bool,
) -> Piece:
    """Lay out one connected part; its nodes are numbered anew."""
    place = {node: number for number, node in enumerate(sorted(part))}
    own: dict[Port, Margin | None] = {
        port: margin for port, margin in margins.items() if port.node in place
    }
    if own and len(own) < len(margins):
        ports = list(own)
        if len(ports) > 1 or own[ports[0]] is None:
            own[ports[0]] = "left"
        if len(ports) > 1:
            own[ports[-1]] = "right"
    graph = Graph(
        [blocks[node] for node in sorted(part)],
        [
            (Port(place[p.node], p.leg), Port(place[q.node], q.leg))
            for p, q in diagram.wires
            if p.node in place
        ],
        {Port(place[port.node], port.leg): margin for port, margin in own.items()},
        {
            Port(place[one.port.node], one.port.leg): one.leg.name
            for one in diagram.open
            if one.port.node in place
        },
    )  # fmt: skip
    network = networks.arranged(graph, [place[part[0]]], inside=inside)
    piece = networks.drawn(network, inside=inside)
    back = sorted(part)
    piece.centres = {back[number]: shape for number, shape in piece.centres.items()}
    return piece


def _packed(diagram: Diagram, made: list[Piece], parts: list[list[int]]) -> Piece:
    """Numbers to the left, and parts with open legs above each other."""
    if not made:
        return Piece()
    if len(made) == 1:
        return made[0]
    numbers = [
        piece for piece, part in zip(made, parts, strict=True) if not _is_open(diagram, part)
    ]
    others = [piece for piece, part in zip(made, parts, strict=True) if _is_open(diagram, part)]
    facing = len(others) == 2 and all(
        len(piece.endings) == 1 and next(iter(piece.endings.values())).side == side
        for piece, side in zip(others, ("left", "right"), strict=True)
    )
    whole = beside(others, 2 * BETWEEN) if facing else _stacked(others)
    return beside([*numbers, whole] if others else numbers, BETWEEN)


def _is_open(diagram: Diagram, part: Sequence[int]) -> bool:
    nodes = set(part)
    return any(one.port.node in nodes for one in diagram.open)


def beside(pieces: Sequence[Piece], gap: float) -> Piece:
    """Put pieces in a row, lined up at their axes."""
    row, x = Piece(), 0.0
    for piece in pieces:
        left, _, right, _ = piece.bounds()
        take(row, piece.moved(x - left, -piece.axis))
        x += right - left + gap
    return row


def _stacked(pieces: Sequence[Piece]) -> Piece:
    """Put pieces above each other, with the ends of their left legs below each other."""
    column, y = Piece(), 0.0
    for piece in pieces:
        _, top, _, bottom = piece.bounds()
        take(column, piece.moved(-_start(piece), y - top))
        y += bottom - top + BETWEEN
    _, top, _, bottom = column.bounds()
    column.axis = (top + bottom) / 2
    return column


def _start(piece: Piece) -> float:
    """Where the left legs of a piece end; its border if there are none."""
    ends = [
        piece.wires[one.wire].points[-1].x for one in piece.endings.values() if one.side == "left"
    ]
    return min(ends, default=piece.bounds()[0])


def take(row: Piece, piece: Piece) -> None:
    """Add a piece with its endings and centres."""
    wires = len(row.wires)
    shift = row.absorb(piece)
    row.endings.update(
        {name: one._replace(wire=one.wire + wires) for name, one in piece.endings.items()}
    )
    row.centres.update({node: number + shift for node, number in piece.centres.items()})
