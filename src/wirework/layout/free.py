"""A diagram whose blocks stand where hints want them, with wires that look for their way."""

from collections.abc import Iterator, Sequence
from itertools import count

from wirework.diagram import Diagram, Port, Side
from wirework.errors import DiagramError
from wirework.layout.blocks import Block
from wirework.layout.cells import LEG
from wirework.layout.constraints import Fixed, Gap, gaps, solved
from wirework.layout.drawing import Drawing
from wirework.layout.labels import width
from wirework.layout.piece import Bounds, Piece
from wirework.layout.router import CLEAR, OUT, Router
from wirework.layout.scene import Point

CLEARANCE = 24.0
"""Between blocks."""
LAST = 13.0
"""Length of the last piece of an open leg."""
_DIAGONAL = [(1, 1), (-1, -1), (1, -1), (-1, 1)]
_ROUNDS = 200
_OUTWARD: dict[Side, tuple[int, int]] = {
    "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
}  # fmt: skip


def moved_centres(
    diagram: Diagram, blocks: Sequence[Block], centres: Sequence[Point], fixed: Fixed
) -> list[Point]:
    """Move blocks to where hints want them; the others follow their neighbours, and make room.

    Raises:
        DiagramError: If no places agree with all hints.
    """
    wishes = _carried(diagram, centres, fixed)
    sizes = [(block.width, block.height) for block in blocks]
    extra: tuple[list[Gap], list[Gap]] = ([], [])
    for _ in range(_ROUNDS):
        found = []
        for axis in (0, 1):
            apart, same = gaps(fixed.relations, sizes, axis)
            pins = {node: at[axis] for node, at in fixed.pins.items()}
            row = solved([at[axis] for at in wishes], pins, [*apart, *extra[axis]], same)
            if row is None and extra[axis]:
                # What keeps blocks apart gives way to what a user asked for.
                extra[axis].pop()
                row = solved([at[axis] for at in wishes], pins, [*apart, *extra[axis]], same)
            if row is None:
                raise DiagramError(_contradiction(diagram, fixed))
            found.append(row)
        places = [Point(x, y) for x, y in zip(*found, strict=True)]
        pair = _too_near(places, sizes, fixed)
        if pair is None:
            return places
        if not _keep_apart(pair, places, sizes, fixed, extra):
            break
    raise DiagramError(_contradiction(diagram, fixed))


def _carried(diagram: Diagram, centres: Sequence[Point], fixed: Fixed) -> list[Point]:
    """Where blocks would stand if pinned ones took their neighbours along."""
    if not fixed.pins:
        return list(centres)
    first = next(iter(fixed.pins))
    base = [Point(at.x - centres[first].x, at.y - centres[first].y) for at in centres]
    shift = {node: (at.x - base[node].x, at.y - base[node].y) for node, at in fixed.pins.items()}
    near: list[list[int]] = [[] for _ in centres]
    for p, q in diagram.wires:
        near[p.node].append(q.node)
        near[q.node].append(p.node)
    steps = [shift.get(node, (0.0, 0.0)) for node in range(len(centres))]
    for _ in range(60):
        for node, others in enumerate(near):
            if node not in shift and others:
                x = sum(steps[other][0] for other in others) / len(others)
                y = sum(steps[other][1] for other in others) / len(others)
                steps[node] = x, y
    return [Point(at.x + dx, at.y + dy) for at, (dx, dy) in zip(base, steps, strict=True)]


def _room(one: int, other: int, fixed: Fixed) -> float:
    """Least distance of two blocks; pins are taken as they are."""
    return 0.0 if one in fixed.pins and other in fixed.pins else CLEARANCE


def _too_near(
    places: Sequence[Point], sizes: Sequence[tuple[float, float]], fixed: Fixed
) -> tuple[int, int] | None:
    """The first pair of blocks without room between, from the left."""
    by_x = sorted(range(len(places)), key=lambda node: (places[node].x, node))
    widest = max((size[0] for size in sizes), default=0.0)
    for number, one in enumerate(by_x):
        for other in by_x[number + 1 :]:
            if places[other].x - places[one].x > widest + CLEARANCE:
                break
            if all(
                abs(places[one][axis] - places[other][axis])
                < (sizes[one][axis] + sizes[other][axis]) / 2 + _room(one, other, fixed) - 1e-6
                for axis in (0, 1)
            ):
                return one, other
    return None


def _keep_apart(
    pair: tuple[int, int],
    places: Sequence[Point],
    sizes: Sequence[tuple[float, float]],
    fixed: Fixed,
    extra: tuple[list[Gap], list[Gap]],
) -> bool:
    """Add the distance that moves two blocks apart with the shortest step; False if none can."""
    one, other = pair
    choices = []
    for axis in (0, 1):
        between = places[other][axis] - places[one][axis]
        before, after = (one, other) if between >= 0 else (other, one)
        least = (sizes[one][axis] + sizes[other][axis]) / 2 + _room(one, other, fixed)
        choices.append((least - abs(between), axis, Gap(before, after, least)))
    for _, axis, gap in sorted(choices):
        apart, same = gaps(fixed.relations, sizes, axis)
        pins = {node: at[axis] for node, at in fixed.pins.items()}
        wishes = [at[axis] for at in places]
        if gap not in extra[axis] and solved(wishes, pins, [*apart, *extra[axis], gap], same):
            extra[axis].append(gap)
            return True
    return False


def _contradiction(diagram: Diagram, fixed: Fixed) -> str:
    said = [f"{diagram.nodes[a]} {how} {diagram.nodes[b]}" for a, how, b in fixed.relations]
    said += [f"{diagram.nodes[node]} at {tuple(at)}" for node, at in fixed.pins.items()]
    return (
        f"expected hints that can all hold, got {'; '.join(said)}. Some contradict each other, or "
        "leave no room between blocks; take one away, or move pins apart."
    )


def freely_drawn(
    diagram: Diagram, blocks: Sequence[Block], centres: Sequence[Point], names: dict[Port, str]
) -> Piece:
    """Draw blocks at their places, and find ways for all wires."""
    drawing = Drawing(blocks, centres)
    outward: dict[Port, tuple[int, int]] = {}
    for port in diagram.ports():
        outward[port] = _direction(diagram, drawing, port, outward)
    # Names stand level, also where a leg leaves a dot at an angle.
    level = {port: (dx, 0 if dx else dy) for port, (dx, dy) in outward.items()}
    tips = {port: _tip(drawing, port, outward[port]) for port in diagram.ports()}
    obstacles = [_box(drawing, node) for node in range(len(blocks))]
    near = [_touching(tip) for tip in tips.values()]
    turns: dict[Port, Point] = {}
    for port, name in names.items():
        turns[port], text = _label(tips[port], level[port], name, [*obstacles, *near])
        obstacles.append(text)
    starts = [drawing.start(port) for port in diagram.ports()]
    starts += [_beyond(at, level[port]) for port, at in turns.items()]
    router = Router(obstacles, [*tips.values(), *turns.values(), *starts])
    for port, tip in tips.items():
        router.keep(drawing.start(port), tip)
    for port, at in turns.items():
        router.keep(at, _beyond(at, level[port]))
    for port, name in names.items():
        at, last = turns[port], _beyond(turns[port], level[port])
        way = _way(diagram, router, port, tips[port], at)
        sides: list[Side] = [one for one, out in _OUTWARD.items() if out == level[port]]
        drawing.end(port, [drawing.start(port), *way, last], sides[0], name)
    lengths = {
        wire: abs(tips[wire[0]].x - tips[wire[1]].x) + abs(tips[wire[0]].y - tips[wire[1]].y)
        for wire in diagram.wires
    }
    for p, q in sorted(diagram.wires, key=lengths.__getitem__):
        way = _way(diagram, router, p, tips[p], tips[q])
        drawing.join(p, [drawing.start(p), *way, drawing.start(q)], q)
    _, top, _, bottom = drawing.piece.bounds()
    drawing.piece.axis = (top + bottom) / 2
    return drawing.piece


def _way(diagram: Diagram, router: Router, port: Port, start: Point, goal: Point) -> list[Point]:
    found = router.route(start, goal)
    if found is None:
        raise DiagramError(
            f"expected room for every wire, got none for leg {diagram.leg(port).name!r} of "
            f"{diagram.nodes[port.node]}. Pins are so near to each other that nothing passes "
            f"between; move them {3 * OUT:g} points apart at least."
        )
    # Lines of the grid are rounded.
    return [Point(_snapped(at.x, start.x, goal.x), _snapped(at.y, start.y, goal.y)) for at in found]


def _snapped(at: float, *ends: float) -> float:
    return next((end for end in ends if abs(end - at) < 0.002), at)


def _box(drawing: Drawing, node: int) -> Bounds:
    block, at = drawing.blocks[node], drawing.centres[node]
    dx, dy = block.width / 2, block.height / 2
    return at.x - dx, at.y - dy, at.x + dx, at.y + dy


def _tip(drawing: Drawing, port: Port, way: tuple[int, int]) -> Point:
    """Where a wire may first turn."""
    start = drawing.start(port)
    left, top, right, bottom = _box(drawing, port.node)
    x = start.x if not way[0] else (right + OUT if way[0] > 0 else left - OUT)
    y = start.y if not way[1] else (bottom + OUT if way[1] > 0 else top - OUT)
    return Point(x, y)


def _direction(
    diagram: Diagram, drawing: Drawing, port: Port, taken: dict[Port, tuple[int, int]]
) -> tuple[int, int]:
    """Where a leg leaves: its side, or for a dot the nearest to its goal that is left."""
    block = drawing.blocks[port.node]
    if not block.is_free:
        return _OUTWARD[block.sides[port.leg]]
    used = [way for one, way in taken.items() if one.node == port.node]
    start = drawing.start(port)
    goal = next(
        (drawing.centres[end] for end in _others(diagram, port)),
        Point(start.x + _OUTWARD[block.sides[port.leg]][0], start.y),
    )
    dx, dy = goal.x - drawing.centres[port.node].x, goal.y - drawing.centres[port.node].y
    slanted = _DIAGONAL if block.outline == "dot" and len(block.legs) > 4 else []
    ways = sorted([*_OUTWARD.values(), *slanted], key=lambda way: -(way[0] * dx + way[1] * dy))
    chosen = next((way for way in ways if way not in used), ways[0])
    if block.outline != "dot":
        block.sides[port.leg] = next(side for side, way in _OUTWARD.items() if way == chosen)
        block.settle()
    return chosen


def _others(diagram: Diagram, port: Port) -> Iterator[int]:
    for p, q in diagram.wires:
        if port == p:
            yield q.node
        elif port == q:
            yield p.node


def _label(
    tip: Point, way: tuple[int, int], name: str, obstacles: Sequence[Bounds]
) -> tuple[Point, Bounds]:
    """Where an open leg turns into the direction of its name, and the room that the name takes.

    That is where it may first turn anyway, or the nearest place with enough room.
    """
    wide, high = width(name, LEG) + 6, LEG * 1.2 + 2
    for ring in count():
        steps = range(-ring, ring + 1)
        around = [(i, j) for i in steps for j in steps if max(abs(i), abs(j)) == ring]
        for i, j in sorted(around, key=lambda at: (abs(at[0]) + abs(at[1]), at)):
            at = Point(tip.x + i * 2 * OUT, tip.y + j * 2 * OUT)
            end = _beyond(at, way)
            left = end.x - wide / 2 + way[0] * wide / 2
            top = end.y - high / 2 + way[1] * high / 2
            room = left, top, left + wide, top + high
            open_ = (room,) if not ring else (room, _touching(at), _touching(end))
            if not any(_meet(one, other) for one in open_ for other in obstacles):
                return at, room
    raise AssertionError("far away there is room")


def _beyond(at: Point, way: tuple[int, int]) -> Point:
    """Where an open leg ends that turns into its direction at a point."""
    return Point(at.x + way[0] * LAST, at.y + way[1] * LAST)


def _touching(at: Point) -> Bounds:
    return at.x - 1, at.y - 1, at.x + 1, at.y + 1


def _meet(a: Bounds, b: Bounds) -> bool:
    wide = min(a[2], b[2]) - max(a[0], b[0]) > -CLEAR - 1
    return wide and min(a[3], b[3]) - max(a[1], b[1]) > -CLEAR - 1
