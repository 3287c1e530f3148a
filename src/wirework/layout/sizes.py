"""Sizes of dimensions, printed beside the wires that have them, where there is room."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from wirework.layout.quality import overlaps
from wirework.layout.scene import Point, Scene, Text, Wire

SIZE = 8.0
"""Of the letters, in points."""
_OFF = SIZE * 0.6 + 1.5
"""From a wire to the middle of the line of text."""


def with_sizes(scene: Scene, sizes: Mapping[str, int]) -> Scene:
    """Print the size of each wire whose dimension is among `sizes`.

    It stands above the middle of a level piece, or below, or beside an upright one; nowhere, if
    it would hide something.
    """
    for wire in scene.wires:
        if wire.dim not in sizes:
            continue
        for text in _places(wire, str(sizes[wire.dim])):
            if not any(text in pair for pair in overlaps(_near(scene, text))):
                scene = replace(scene, texts=(*scene.texts, text))
                break
    return scene


def _places(wire: Wire, said: str) -> Iterator[Text]:
    """Where it may stand, the longest piece first."""
    pieces = sorted(pairwise(wire.points), key=lambda ends: -_length(*ends))
    for start, end in pieces:
        x, y = (start.x + end.x) / 2, (start.y + end.y) / 2
        if abs(end.y - start.y) < abs(end.x - start.x):
            yield Text(x, y - _OFF, said, "dim", SIZE)
            yield Text(x, y + _OFF, said, "dim", SIZE)
        else:
            yield Text(x + 3, y, said, "dim", SIZE, "start")
            yield Text(x - 3, y, said, "dim", SIZE, "end")


def _length(start: Point, end: Point) -> float:
    return abs(end.x - start.x) + abs(end.y - start.y)


def _near(scene: Scene, text: Text) -> Scene:
    """The text with what it might hide."""
    left, top, right, bottom = text.bounds

    def is_near(bounds: tuple[float, float, float, float]) -> bool:
        a, b, c, d = bounds
        return a <= right and left <= c and b <= bottom and top <= d

    wires = []
    for wire in scene.wires:
        xs, ys = [p.x for p in wire.points], [p.y for p in wire.points]
        if is_near((min(xs), min(ys), max(xs), max(ys))):
            wires.append(replace(wire, ends=(None, None)))
    shapes = tuple(one for one in scene.shapes if is_near(one.bounds))
    texts = tuple(one for one in scene.texts if is_near(one.bounds))
    return Scene(scene.width, scene.height, shapes, tuple(wires), (*texts, text))
