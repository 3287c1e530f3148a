"""A scene: what is drawn and where, decided to the last point; emitters only write it down.

Lengths are points (1/72 inch), x grows to the right and y downwards, and (0, 0) is the top left
corner of the picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Outline = Literal["box", "disc", "triangle", "dot", "frame", "loop"]
"""box: a tensor, narrower on the side that faces away from its first leg. disc: a vector or a
number. triangle: an isometry, its tip at the bond. dot: a copy. frame: a box around a function's
argument or a group. loop: a derivative, around what is differentiated."""
Facing = Literal["left", "right", "up", "down"]
Anchor = Literal["start", "middle", "end"]
Role = Literal["name", "leg", "dim", "sign", "relation", "title", "note"]

TAPER, MOST_TAPER = 0.16, 5.0
"""How much a box narrows at each side towards where it faces, relative and in points."""


class Point(NamedTuple):
    """A place."""

    x: float
    y: float


@dataclass(frozen=True)
class Shape:
    """A node, or a frame around some."""

    outline: Outline
    x: float
    """Of the centre."""
    y: float
    width: float
    height: float
    name: str
    """Of the tensor or function; not drawn by itself (see `Text`)."""
    hover: str = ""
    """What it is, with its legs and dimensions; hostile text, like every name."""
    facing: Facing | None = None
    """Where the narrow side or the tip points; None if nothing tells the sides apart."""
    conjugate: bool = False
    error: float | None = None
    """Relative truncation error of a decomposition, if it is a factor of one."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        dx, dy = self.width / 2, self.height / 2
        return self.x - dx, self.y - dy, self.x + dx, self.y + dy


@dataclass(frozen=True)
class Wire:
    """A leg, or two that are joined: straight pieces, whose corners are drawn round."""

    points: tuple[Point, ...]
    dim: str
    """Name of its dimension."""
    hover: str = ""
    ends: tuple[int | None, int | None] = (None, None)
    """Numbers of the shapes at its first and last point; None at an open end."""
    arrow: bool = False
    """Whether an arrow at its middle tells the direction."""


@dataclass(frozen=True)
class Text:
    """A label, as `wirework.layout.labels` splits it into letters, indices and exponents."""

    x: float
    """Of the anchor."""
    y: float
    """Of the middle of the line."""
    text: str
    role: Role
    size: float = 12.0
    anchor: Anchor = "middle"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, as far as can be told without the font."""
        from wirework.layout.labels import width

        wide = width(self.text, self.size)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        return left, self.y - self.size * 0.6, left + wide, self.y + self.size * 0.6


@dataclass(frozen=True)
class Scene:
    """A whole picture."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    """Frames and loops before what they enclose, so that drawing in order works."""
    wires: tuple[Wire, ...]
    texts: tuple[Text, ...]

    def moved(self, dx: float, dy: float) -> "Scene":
        """The same picture elsewhere; its size stays."""
        return replace(
            self,
            shapes=tuple(replace(s, x=s.x + dx, y=s.y + dy) for s in self.shapes),
            wires=tuple(
                replace(w, points=tuple(Point(p.x + dx, p.y + dy) for p in w.points))
                for w in self.wires
            ),
            texts=tuple(replace(t, x=t.x + dx, y=t.y + dy) for t in self.texts),
        )

    def extents(self) -> Iterator[tuple[float, float, float, float]]:
        """Bounds of everything that is drawn."""
        for one in (*self.shapes, *self.texts):
            yield one.bounds
        for wire in self.wires:
            xs, ys = [p.x for p in wire.points], [p.y for p in wire.points]
            yield min(xs), min(ys), max(xs), max(ys)
