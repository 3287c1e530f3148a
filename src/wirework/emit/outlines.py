"""The lines of a scene, as polygons with round corners and ellipses: all that emitters write."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wirework.layout.scene import MOST_TAPER, TAPER, Point, Shape, Wire

KAPPA = 0.5523
"""A Bézier curve whose controls are this far along is nearly a quarter of a circle."""
WIRE_RADIUS = 6.0
ARROW = 3.2
"""Half the length of an arrow."""
INSET = 2.6
"""Between the two outlines of a conjugate."""
_RADII = {"box": 1.6, "triangle": 1.6, "frame": 6.0, "loop": 14.0}


@dataclass(frozen=True)
class Polygon:
    """Straight pieces with corners of one radius."""

    points: tuple[Point, ...]
    radius: float = 0.0
    closed: bool = True


@dataclass(frozen=True)
class Ellipse:
    """An ellipse."""

    centre: Point
    rx: float
    ry: float


Outline = Polygon | Ellipse


def behind(shape: Shape) -> bool:
    """Whether wires are drawn over a shape, as it only goes around others."""
    return shape.outline in ("frame", "loop")


def outline(shape: Shape, inset: float = 0.0) -> Outline:
    """The outline of a shape, or a line within it at a distance."""
    centre = Point(shape.x, shape.y)
    dx, dy = max(shape.width / 2 - inset, 0.0), max(shape.height / 2 - inset, 0.0)
    if shape.outline in ("disc", "dot"):
        return Ellipse(centre, dx, dy)
    corners = [(-dx, -dy), (dx, -dy), (dx, dy), (-dx, dy)]
    if shape.outline == "box" and shape.facing:
        corners = _tapered(shape, dx, dy)
    elif shape.outline == "triangle":
        corners = _triangle(shape, inset)
    points = tuple(Point(shape.x + x, shape.y + y) for x, y in corners)
    return _rounded(points, _RADII[shape.outline] - inset / 2, closed=True)


def wire_line(wire: Wire) -> Polygon:
    """The line of a wire; its radius is limited by its shortest piece."""
    return _rounded(_without_repeats(wire.points), WIRE_RADIUS, closed=False)


def arrow(wire: Wire) -> Polygon:
    """The arrow at the middle of a wire."""
    points = _without_repeats(wire.points)
    left = sum(math.dist(a, b) for a, b in zip(points, points[1:], strict=False)) / 2
    for a, b in zip(points, points[1:], strict=False):
        length = math.dist(a, b)
        if left <= length:
            ux, uy = (b.x - a.x) / length, (b.y - a.y) / length
            x, y = a.x + ux * left, a.y + uy * left
            tip = Point(x + ux * ARROW, y + uy * ARROW)
            back = Point(x - ux * ARROW, y - uy * ARROW)
            side = 0.8 * ARROW
            wings = (Point(back.x + s * uy * side, back.y - s * ux * side) for s in (1, -1))
            return Polygon((tip, *wings))
        left -= length
    return Polygon(points[:1])


def curves(polygon: Polygon) -> Iterator[tuple[str, tuple[Point, ...]]]:
    """A polygon as commands M, L, C and Z with their points, as SVG has them."""
    points, last = polygon.points, len(polygon.points) - 1
    for number, corner in enumerate(points):
        ends = () if polygon.closed else (0, last)
        if not polygon.radius or number in ends:
            yield ("L" if number else "M"), (corner,)
            continue
        before, after = points[number - 1], points[(number + 1) % len(points)]
        start, end = (_toward(corner, other, polygon.radius) for other in (before, after))
        controls = (_toward(start, corner, polygon.radius * KAPPA),
                    _toward(end, corner, polygon.radius * KAPPA))  # fmt: skip
        yield ("L" if number else "M"), (start,)
        yield "C", (*controls, end)
    if polygon.closed:
        yield "Z", ()


def _tapered(shape: Shape, dx: float, dy: float) -> list[tuple[float, float]]:
    """Corners from the top left, clockwise, with the two of the narrow side drawn in."""
    tx, ty = min(TAPER * shape.width, MOST_TAPER), min(TAPER * shape.height, MOST_TAPER)
    match shape.facing:
        case "right":
            return [(-dx, -dy), (dx, -dy + ty), (dx, dy - ty), (-dx, dy)]
        case "left":
            return [(-dx, -dy + ty), (dx, -dy), (dx, dy), (-dx, dy - ty)]
        case "up":
            return [(-dx + tx, -dy), (dx - tx, -dy), (dx, dy), (-dx, dy)]
        case _:
            return [(-dx, -dy), (dx, -dy), (dx - tx, dy), (-dx + tx, dy)]


def _triangle(shape: Shape, inset: float) -> list[tuple[float, float]]:
    """Tip first; the inner line keeps its distance from all three sides."""
    upright = shape.facing in ("up", "down")
    length, width = (shape.height, shape.width) if upright else (shape.width, shape.height)
    half = width / 2
    slant = math.hypot(length, half)
    tip = length / 2 - inset * slant / half
    base = -length / 2 + inset
    rise = (tip - base) * half / length
    sign = -1 if shape.facing in ("left", "up") else 1
    corners = [(sign * tip, 0.0), (sign * base, rise), (sign * base, -rise)]
    return [(y, x) for x, y in corners] if upright else corners


def _rounded(points: tuple[Point, ...], radius: float, *, closed: bool) -> Polygon:
    """Limit the radius, so that two corners never share a piece of line."""
    following = (*points[1:], points[0]) if closed else points[1:]
    lengths = [math.dist(a, b) for a, b in zip(points, following, strict=False)]
    if not closed and len(lengths) > 1:
        # The pieces at the ends have one corner only.
        lengths[0] *= 2
        lengths[-1] *= 2
    return Polygon(points, max(min([radius, *(one / 2 for one in lengths)]), 0.0), closed)


def _without_repeats(points: Sequence[Point]) -> tuple[Point, ...]:
    kept = [points[0]]
    kept += [b for a, b in zip(points, points[1:], strict=False) if math.dist(a, b) > 1e-6]
    return tuple(kept)


def _toward(start: Point, goal: Point, distance: float) -> Point:
    length = math.dist(start, goal)
    if not length:
        return start
    share = distance / length
    return Point(start.x + (goal.x - start.x) * share, start.y + (goal.y - start.y) * share)
