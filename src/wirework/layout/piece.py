"""A piece of a picture whose open legs may still be joined to something outside."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from wirework.layout.scene import Facing, Point, Scene, Shape, Text, Wire

Bounds = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Margin = Literal["left", "right"]
PAD = 10.0
"""Between a frame and what is in it, and around the whole picture."""
TITLE = 10.0
"""Size of titles."""
_MIRRORED: dict[str | None, Facing | None] = {"left": "right", "right": "left"}
_ANCHORS = {"start": "end", "middle": "middle", "end": "start"}


class Ending(NamedTuple):
    """An open leg: the wire whose last point is its end, and the margin where that is."""

    wire: int
    side: Margin


@dataclass
class Piece:
    """Shapes, wires and texts anywhere in the plane."""

    shapes: list[Shape] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    endings: dict[str, Ending] = field(default_factory=dict)
    """Of the open legs that reach the margin, by name."""
    centres: dict[int, int] = field(default_factory=dict)
    """Number of the shape of each node."""
    axis: float = 0.0
    """Height at which it is lined up with what stands beside it."""

    def bounds(self) -> Bounds:
        """Of everything; (0, 0, 0, 0) if there is nothing."""
        return around(
            Scene(0.0, 0.0, tuple(self.shapes), tuple(self.wires), tuple(self.texts)).extents()
        )

    def moved(self, dx: float, dy: float) -> "Piece":
        """The same elsewhere."""
        scene = Scene(0.0, 0.0, tuple(self.shapes), tuple(self.wires), tuple(self.texts)).moved(
            dx, dy
        )
        return replace(
            self,
            shapes=list(scene.shapes),
            wires=list(scene.wires),
            texts=list(scene.texts),
            axis=self.axis + dy,
        )

    def mirrored(self) -> "Piece":
        """Left and right exchanged; letters stay readable."""
        return replace(
            self,
            shapes=[
                replace(one, x=-one.x, facing=_MIRRORED.get(one.facing, one.facing))
                for one in self.shapes
            ],
            wires=[
                replace(one, points=tuple(Point(-p.x, p.y) for p in one.points))
                for one in self.wires
            ],
            texts=[
                replace(one, x=-one.x, anchor=_ANCHORS[one.anchor])  # pyright: ignore
                for one in self.texts
            ],
            endings={
                name: Ending(one.wire, "right" if one.side == "left" else "left")
                for name, one in self.endings.items()
            },
        )

    def absorb(self, other: "Piece", used: Iterable[int] = ()) -> int:
        """Take over what another has drawn, but for the wires in `used`; endings are not taken.

        Returns:
            How much the numbers of its shapes have grown.
        """
        shift, left_out = len(self.shapes), set(used)
        self.shapes += other.shapes
        self.wires += [
            shifted(wire, shift)
            for number, wire in enumerate(other.wires)
            if number not in left_out
        ]
        self.texts += other.texts
        return shift


def shifted(wire: Wire, by: int) -> Wire:
    """The same wire, where the numbers of shapes have grown."""
    first, last = (None if end is None else end + by for end in wire.ends)
    return replace(wire, ends=(first, last))


def around(extents: Iterable[Bounds]) -> Bounds:
    """What encloses all of them."""
    every = list(extents)
    if not every:
        return 0.0, 0.0, 0.0, 0.0
    lefts, tops, rights, bottoms = zip(*every, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def framed(piece: Piece, outline: Literal["frame", "loop"], title: str, hover: str) -> Piece:
    """Draw a frame around a piece; endings are drawn out to its border, texts stay inside.

    The frame becomes the first shape, with its centre at (0, 0).
    """
    left, top, right, bottom = piece.bounds()
    label = Text(0.0, 0.0, title, "title", TITLE)
    wide = label.bounds[2] - label.bounds[0]
    width = max(right - left + 2 * PAD, wide + 2 * PAD)
    head = TITLE * 1.2 + 4 if title else 0.0
    height = bottom - top + 2 * PAD + head
    inside = piece.moved(-(left + right) / 2, height / 2 - PAD - bottom)
    made = Piece([Shape(outline, 0.0, 0.0, width, height, title, hover)], axis=inside.axis)
    made.absorb(inside)
    made.centres = {node: number + 1 for node, number in inside.centres.items()}
    made.endings = dict(inside.endings)
    for ending in inside.endings.values():
        wire = made.wires[ending.wire]
        end = Point(-width / 2 if ending.side == "left" else width / 2, wire.points[-1].y)
        made.wires[ending.wire] = replace(wire, points=straightened((*wire.points, end)))
    if title:
        y = -height / 2 + PAD / 2 + TITLE * 0.6
        made.texts.append(Text(-width / 2 + PAD, y, title, "title", TITLE, "start"))
    return made


def straightened(points: Iterable[Point]) -> tuple[Point, ...]:
    """Leave out points that are repeated or on the way between their neighbours."""
    kept: list[Point] = []
    for point in points:
        while kept and abs(kept[-1].x - point.x) + abs(kept[-1].y - point.y) < 1e-6:
            kept.pop()
        while len(kept) > 1 and _between(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _between(a: Point, b: Point, c: Point) -> bool:
    cross = (b.x - a.x) * (c.y - b.y) - (b.y - a.y) * (c.x - b.x)
    along = (b.x - a.x) * (c.x - b.x) + (b.y - a.y) * (c.y - b.y)
    return abs(cross) < 1e-6 and along > 0
