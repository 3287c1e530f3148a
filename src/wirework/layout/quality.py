"""How good a picture is, in numbers that do not depend on which layout made it."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wirework.layout.piece import Bounds
from wirework.layout.scene import Point, Scene, Shape, Text

CELL = 40.0
"""Size of the squares by which neighbours are found, in points."""
TOUCH = 0.5
"""What is nearer than this touches."""
_ENCLOSING = ("frame", "loop")


@dataclass(frozen=True)
class Quality:
    """Counts and lengths of a picture."""

    crossings: int
    """Pairs of wires that cross, as often as they do."""
    overlaps: int
    """Pairs of shapes, texts and wires that hide each other in part; see `overlaps`."""
    bends: int
    """Corners of wires."""
    wire_length: float
    """Of all wires, in points."""
    symmetry: float
    """Share of shapes that a reflection takes to shapes of the same kind, from 0 to 1."""


@dataclass(frozen=True)
class _Piece:
    """A straight piece of a wire."""

    wire: int
    start: Point
    end: Point

    @property
    def bounds(self) -> Bounds:
        (ax, ay), (bx, by) = self.start, self.end
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def measure(scene: Scene) -> Quality:
    """Measure a picture; time is nearly linear in what is drawn.

    A scene made by hand or from another layout can be measured just as well, if its wires say at
    which shapes they end.
    """
    pieces = _pieces(scene)
    crossed, hidden = _crossings(scene, pieces)
    return Quality(
        crossings=crossed,
        overlaps=hidden + sum(1 for _ in overlaps(scene, pieces)),
        bends=sum(_bends(wire.points) for wire in scene.wires),
        wire_length=sum((math.dist(p.start, p.end) for p in pieces), 0.0),
        symmetry=_symmetry(scene.shapes),
    )


def overlaps(
    scene: Scene, pieces: Sequence[_Piece] | None = None
) -> Iterator[tuple[object, object]]:
    """Pairs that hide each other, but for wires that run along each other.

    Two shapes or texts overlap if they share some area, and neither a frame or loop encloses the
    other, nor is one the name or truncation error within the other. A wire overlaps a shape that it
    touches and does not end at, and a text that it touches; it may pass the border of frames and
    loops.
    """
    pieces = _pieces(scene) if pieces is None else pieces
    things: list[Shape | Text] = [*scene.shapes, *scene.texts]
    grid = _Grid((number, thing.bounds) for number, thing in enumerate(things))
    for first, second in grid.pairs():
        if _hide(things[first], things[second]):
            yield things[first], things[second]
    for piece in pieces:
        wire = scene.wires[piece.wire]
        for number in grid.near(piece.bounds):
            thing = things[number]
            if isinstance(thing, Shape) and (thing.outline in _ENCLOSING or number in wire.ends):
                continue
            if _touches(piece, thing):
                yield wire, thing


def _pieces(scene: Scene) -> list[_Piece]:
    return [
        _Piece(number, start, end)
        for number, wire in enumerate(scene.wires)
        for start, end in pairwise(wire.points)
        if start != end
    ]


class _Grid:
    """Finds what is near by the squares of the plane that it touches."""

    def __init__(self, items: Iterable[tuple[int, Bounds]]) -> None:
        self.squares: dict[Hashable, list[int]] = defaultdict(list)
        for number, bounds in items:
            for square in _squares(bounds):
                self.squares[square].append(number)

    def near(self, bounds: Bounds) -> list[int]:
        """Numbers of what may touch a rectangle."""
        found: dict[int, None] = {}
        for square in _squares(bounds):
            if square in self.squares:
                found.update(dict.fromkeys(self.squares[square]))
        return list(found)

    def pairs(self) -> list[tuple[int, int]]:
        """Pairs that may touch."""
        found: dict[tuple[int, int], None] = {}
        for numbers in self.squares.values():
            for place, first in enumerate(numbers):
                found.update(dict.fromkeys((first, second) for second in numbers[place + 1 :]))
        return list(found)


def _squares(bounds: Bounds) -> Iterator[tuple[int, int]]:
    left, top, right, bottom = (math.floor(one / CELL) for one in bounds)
    for x in range(left, right + 1):
        for y in range(top, bottom + 1):
            yield x, y


def _hide(one: Shape | Text, other: Shape | Text) -> bool:
    a, b = one.bounds, other.bounds
    if min(a[2], b[2]) - max(a[0], b[0]) <= TOUCH or min(a[3], b[3]) - max(a[1], b[1]) <= TOUCH:
        return False
    if _on_border(one, other) or _on_border(other, one):
        return False
    return not (_holds(one, other) or _holds(other, one))


def _holds(one: Shape | Text, other: Shape | Text) -> bool:
    """Whether it is as it should be that one contains the other."""
    if not isinstance(one, Shape):
        return False
    if one.outline not in _ENCLOSING:
        named = isinstance(other, Text) and other.role == "name" and other.text == one.name
        remark = isinstance(other, Text) and other.role == "note" and one.error is not None
        if not (named or remark):
            return False
    a, b = one.bounds, other.bounds
    return a[0] <= b[0] and a[1] <= b[1] and b[2] <= a[2] and b[3] <= a[3]


def _on_border(one: Shape | Text, other: Shape | Text) -> bool:
    """Whether a dot sits on the border of a loop, where a leg of a derivative starts."""
    if not (isinstance(one, Shape) and isinstance(other, Shape)):
        return False
    if one.outline != "loop" or other.outline != "dot":
        return False
    left, top, right, bottom = one.bounds
    return (
        min(abs(other.x - left), abs(other.x - right)) < TOUCH and top <= other.y <= bottom
        or min(abs(other.y - top), abs(other.y - bottom)) < TOUCH and left <= other.x <= right
    )  # fmt: skip


def _touches(piece: _Piece, thing: Shape | Text) -> bool:
    """Whether a piece of a wire passes through a rectangle, by clipping it."""
    left, top, right, bottom = thing.bounds
    (ax, ay), (bx, by) = piece.start, piece.end
    start, end = 0.0, 1.0
    for at, step, low, high in (
        (ax, bx - ax, left + TOUCH, right - TOUCH),
        (ay, by - ay, top + TOUCH, bottom - TOUCH),
    ):
        if abs(step) < 1e-9:
            if not low < at < high:
                return False
            continue
        first, second = sorted(((low - at) / step, (high - at) / step))
        start, end = max(start, first), min(end, second)
    return start < end


def _crossings(scene: Scene, pieces: Sequence[_Piece]) -> tuple[int, int]:
    """Crossings of wires, and pairs of wires that run along each other."""
    cut = [
        (number, _Piece(piece.wire, *ends).bounds)
        for number, piece in enumerate(pieces)
        for ends in _cut(piece)
    ]
    crossed, along = 0, set()
    for first, second in _Grid(cut).pairs():
        if first == second:
            continue
        a, b = pieces[first], pieces[second]
        if _along(a, b):
            along.add((a.wire, b.wire))
        elif a.wire != b.wire and _cross(a, b):
            crossed += 1
    return crossed, len(along)


def _cut(piece: _Piece) -> Iterator[tuple[Point, Point]]:
    """Short pieces of a long one, so that slanted ones do not fill the grid."""
    (ax, ay), (bx, by) = piece.start, piece.end
    steps = (
        1 if ax == bx or ay == by else max(1, math.ceil(math.dist(piece.start, piece.end) / CELL))
    )
    points = [
        Point(ax + (bx - ax) * n / steps, ay + (by - ay) * n / steps) for n in range(steps + 1)
    ]
    return pairwise(points)


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)


def _cross(a: _Piece, b: _Piece) -> bool:
    """Whether two pieces cross; half-open, so that a corner on a line counts once."""
    first = (_turn(a.start, a.end, b.start) > 0) != (_turn(a.start, a.end, b.end) > 0)
    return first and (_turn(b.start, b.end, a.start) > 0) != (_turn(b.start, b.end, a.end) > 0)


def _along(a: _Piece, b: _Piece) -> bool:
    """Whether two pieces lie on one line and share more than a point of it."""
    length = math.dist(a.start, a.end)
    ux, uy = (a.end.x - a.start.x) / length, (a.end.y - a.start.y) / length
    places = []
    for point in (b.start, b.end):
        dx, dy = point.x - a.start.x, point.y - a.start.y
        if abs(dx * uy - dy * ux) > TOUCH:
            return False
        places.append(dx * ux + dy * uy)
    return min(max(places), length) - max(min(places), 0.0) > 2 * TOUCH


def _bends(points: Sequence[Point]) -> int:
    return sum(
        abs(_turn(a, b, c)) > 1e-6 for a, b, c in zip(points, points[1:], points[2:], strict=False)
    )


def _symmetry(shapes: Sequence[Shape]) -> float:
    """The better of the reflections at the two middle lines."""
    own = [shape for shape in shapes if shape.outline not in _ENCLOSING]
    if not own:
        return 1.0
    middle_x = (min(s.x for s in own) + max(s.x for s in own)) / 2
    middle_y = (min(s.y for s in own) + max(s.y for s in own)) / 2
    centres = {(round(s.x), round(s.y), s.outline) for s in own}

    def share(sign_x: int, sign_y: int) -> float:
        hit = 0
        for shape in own:
            x = shape.x if sign_x > 0 else 2 * middle_x - shape.x
            y = shape.y if sign_y > 0 else 2 * middle_y - shape.y
            near = ((round(x) + dx, round(y) + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
            hit += any((*place, shape.outline) in centres for place in near)
        return hit / len(own)

    flat = len({round(s.y) for s in own}) == 1, len({round(s.x) for s in own}) == 1
    shares = [0.0]
    if not flat[1] or len(own) == 1:
        shares.append(share(-1, 1))
    if not flat[0] or len(own) == 1:
        shares.append(share(1, -1))
    return max(shares)
