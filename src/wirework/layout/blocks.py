"""Blocks: how large a node is drawn, and where on its outline each leg starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wirework.diagram import Copy, Leg, Side, Tensor
from wirework.layout.labels import width
from wirework.layout.piece import Piece
from wirework.layout.scene import MOST_TAPER, TAPER, Facing, Outline, Point, Shape, Text

HEIGHT = 28.0
"""Of a tensor with one leg at each side, in points."""
PITCH = 14.0
"""Between legs on one side."""
LANE = 8.0
"""Between wires that run around a block."""
RADIUS = 3.5
"""Of a dot."""
SIZE = 12.0
"""Of names."""
REMARK = 8.0
"""Of what is printed below a name."""
OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left", "up": "down", "down": "up"}
_OUTWARD: dict[Side, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}


@dataclass
class Block:
    """A node with its legs on sides; (0, 0) is its centre."""

    outline: Outline
    label: str
    legs: tuple[Leg, ...]
    hover: str
    tensor: Tensor | None = None
    inner: Piece | None = None
    """What is within a frame; its first shape is the frame."""
    joined: dict[int, int] = field(default_factory=dict)
    """For legs that pass through the frame: number of the wire in `inner`."""
    starts: dict[int, int] = field(default_factory=dict)
    """For legs that start at a dot on the frame: number of the dot in `inner`."""
    flipped: bool = False
    """Whether its first leg is to the right."""
    raised: bool = False
    """Whether its middle legs go up, not down."""
    sides: dict[int, Side] = field(default_factory=dict)
    places: dict[int, Point] = field(default_factory=dict)
    """Where legs start."""
    spacing: float = PITCH
    """Between legs above or below, where the names of open ones need room."""
    width: float = HEIGHT
    height: float = HEIGHT

    @property
    def error(self) -> float | None:
        """Relative truncation error, if it is a factor that lacks something."""
        return self.tensor.error if self.tensor else None

    @property
    def remark(self) -> str:
        """The truncation error as it is printed; empty if there is none."""
        return "" if self.error is None else f"±{self.error:.2g}"

    @property
    def is_free(self) -> bool:
        """Whether legs may leave on any side, in any order."""
        return self.outline == "dot" or len(self.legs) == 1 and self.inner is None

    def lean(self, leg: int) -> Literal[-1, 0, 1]:
        """-1 if a leg wants to leave to the left, 1 to the right, 0 if it does not mind."""
        side = self.legs[leg].side
        if self.inner is not None:
            side = self.sides[leg]
        elif side is None:
            if self.is_free:
                return 0
            first, last = ("right", "left") if self.flipped else ("left", "right")
            side = first if leg == 0 else last if leg == len(self.legs) - 1 else "down"
        return -1 if side == "left" else 1 if side == "right" else 0

    def flip(self) -> None:
        """Exchange left and right, if no leg has a side that a user gave."""
        if any(leg.side for leg in self.legs):
            return
        self.flipped = not self.flipped
        if self.inner is not None:
            if self.joined or self.starts:
                self.inner = self.inner.mirrored()
            self.sides = {leg: OPPOSITE[side] for leg, side in self.sides.items()}
            self.places = {leg: Point(-at.x, at.y) for leg, at in self.places.items()}

    def settle(self) -> None:
        """Find the size and where legs start, once their sides are known."""
        if self.inner is not None:
            return
        if self.outline == "dot":
            self.width = self.height = 2 * RADIUS
            self.places = {leg: Point(0, 0) for leg in self.sides}
            return
        across = max(self._count("up"), self._count("down")) - 1
        along = max(self._count("left"), self._count("right")) - 1
        inside = max(width(self.label, SIZE), width(self.remark, REMARK))
        self.width = max(HEIGHT, inside + 14, self.spacing * across + 20)
        self.height = max(HEIGHT + (REMARK if self.remark else 0), PITCH * along + 20)
        if self.outline == "triangle":
            # Two lines reach further into its corners than one.
            self.width += 22 if self.remark else 12
            self.height += 14 if self.remark else 6
        if self.outline == "disc":
            self.width = self.height = max(self.height, min(self.width, 40.0))
            self.width = max(self.width, inside + 14)
        for side in OPPOSITE:
            self._spread(side)

    @property
    def facing(self) -> Facing | None:
        """Away from the first leg; for an isometry, where its bond is."""
        if self.tensor is None or len(self.legs) < 2 or self.outline == "disc":
            return None
        if self.outline == "triangle":
            return self.sides[self.tensor.isometry[0]]
        if any(len(group) == len(self.legs) for group in self.tensor.symmetric):
            return None
        return OPPOSITE[self.sides[0]]

    def on(self, side: Side) -> list[int]:
        """Legs on a side, from the left or the top."""
        rising = (side in ("left", "down")) ^ self.flipped ^ self.raised
        return sorted((leg for leg, at in self.sides.items() if at == side), reverse=not rising)

    def drawn(self, x: float, y: float) -> Piece:
        """The block with its centre at a place."""
        if self.inner is not None:
            return self.inner.moved(x, y)
        conjugate = self.tensor is not None and self.tensor.conjugate
        shape = Shape(
            self.outline, x, y, self.width, self.height, self.label, self.hover, self.facing,
            conjugate, self.error,
        )  # fmt: skip
        if not self.label:
            return Piece([shape])
        dx, dy = _OUTWARD[self.facing] if self.outline == "triangle" and self.facing else (0, 0)
        share = 0.19 if self.remark else 0.13
        place = x - dx * self.width * share, y - dy * self.height * share
        if not self.remark:
            return Piece([shape], texts=[Text(*place, self.label, "name", SIZE)])
        # The name and what it lacks, one above the other.
        up, down = place[1] - REMARK * 0.6, place[1] + SIZE * 0.62
        name = Text(place[0], up, self.label, "name", SIZE)
        return Piece([shape], texts=[name, Text(place[0], down, self.remark, "note", REMARK)])

    def _count(self, side: Side) -> int:
        return sum(at == side for at in self.sides.values())

    def _spread(self, side: Side) -> None:
        legs = self.on(side)
        pitch = self.spacing if side in ("up", "down") else PITCH
        for place, leg in enumerate(legs):
            step = (place - (len(legs) - 1) / 2) * pitch
            self.places[leg] = self._border(side, step)

    def _border(self, side: Side, step: float) -> Point:
        """A point of the outline, at a distance from the middle of a side."""
        dx, dy = _OUTWARD[side]
        half = self.width / 2 if dx else self.height / 2
        other = self.height / 2 if dx else self.width / 2
        if self.outline == "disc":
            return Point(dx * half, dy * half)
        facing = self.facing
        if facing in (None, side, OPPOSITE[side]):
            return Point(dx * half or step, dy * half or step)
        # The sides between base and tip run towards each other.
        fx, fy = _OUTWARD[facing]
        forward = fx or fy
        if self.outline == "triangle":
            step -= forward * other / 2
            half *= (1 - forward * step / other) / 2
        else:
            drawn_in = min(TAPER * 2 * half, MOST_TAPER)
            half -= drawn_in * (1 + forward * step / other) / 2
        return Point(dx * half or step, dy * half or step)


def block_of(node: Tensor | Copy) -> Block:
    """The block of a node that is not around anything."""
    if isinstance(node, Copy):
        return Block("dot", "", node.legs, str(node))
    outline: Outline = "box"
    if len(node.legs) < 2:
        outline = "disc"
    elif len(node.isometry) == 1 and node.isometry[0] in (0, len(node.legs) - 1):
        outline = "triangle"
    return Block(outline, node.name, node.legs, str(node), node)


def frame_block(piece: Piece, legs: tuple[Leg, ...], keys: Sequence[str]) -> Block:
    """The block of a frame that is drawn.

    Args:
        piece: Its first shape is the frame.
        legs: Of the node.
        keys: What the endings of `piece` are called that belong to the first legs. Further legs
            start at the frame with a dot.
    """
    frame = piece.shapes[0]
    block = Block(frame.outline, frame.name, legs, frame.hover, inner=piece)
    for number, key in enumerate(keys):
        if key in piece.endings:
            wire, side = piece.endings[key]
            block.joined[number], block.sides[number] = wire, side
            block.places[number] = piece.wires[wire].points[-1]
    missing = [number for number in range(len(legs)) if number not in block.joined]
    tallest = _at_border(block, missing, frame, piece.axis)
    if tallest > frame.height:
        piece.shapes[0] = replace(frame, height=tallest)
    block.width, block.height = frame.width, tallest
    for number in range(len(keys), len(legs)):
        at = block.places[number]
        block.starts[number] = len(piece.shapes)
        piece.shapes.append(Shape("dot", at.x, at.y, 2 * RADIUS, 2 * RADIUS, "", str(legs[number])))
    return block


def _at_border(block: Block, missing: Sequence[int], frame: Shape, axis: float) -> float:
    """Give legs that start at a frame places on it; how high it must be for them."""
    taken: dict[Side, list[float]] = {"left": [], "right": []}
    for leg, side in block.sides.items():
        taken[side].append(block.places[leg].y)
    height = frame.height
    for leg in missing:
        first = leg == 0 and len(block.legs) > 0 and not block.joined
        side: Side = "left" if first else "right"
        steps = (axis + sign * PITCH / 2 * n for n in range(10_000) for sign in (1, -1))
        y = next(at for at in steps if all(abs(at - one) >= PITCH - 0.1 for one in taken[side]))
        taken[side].append(y)
        height = max(height, 2 * abs(y) + PITCH)
        block.sides[leg] = side
        block.places[leg] = Point(-frame.width / 2 if side == "left" else frame.width / 2, y)
    return height
