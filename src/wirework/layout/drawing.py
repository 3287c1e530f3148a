"""Draws blocks and the wires between them, whatever decided on their places."""

from collections.abc import Sequence

from wirework.diagram import Port, Side
from wirework.layout.blocks import Block
from wirework.layout.cells import LEG
from wirework.layout.piece import Ending, Piece, shifted, straightened
from wirework.layout.scene import Anchor, Point, Text, Wire


class Drawing:
    """A piece that grows; what is within frames comes along with their blocks."""

    def __init__(self, blocks: Sequence[Block], centres: Sequence[Point]) -> None:
        """Draw the blocks."""
        self.blocks, self.centres, self.piece = blocks, centres, Piece()
        self._inner: dict[Port, Wire] = {}
        shapes = self.piece.centres
        for node, (block, at) in enumerate(zip(blocks, centres, strict=True)):
            own = block.drawn(at.x, at.y)
            shapes[node] = len(self.piece.shapes)
            for leg, wire in block.joined.items():
                self._inner[Port(node, leg)] = shifted(own.wires[wire], shapes[node])
            self.piece.absorb(own, block.joined.values())

    def start(self, port: Port) -> Point:
        """Where a leg starts."""
        at, place = self.centres[port.node], self.blocks[port.node].places[port.leg]
        return Point(at.x + place.x, at.y + place.y)

    def join(self, p: Port, points: Sequence[Point], q: Port) -> None:
        """Draw a wire between two legs, with what belongs to it within frames."""
        line = [*self._within(p), *points, *reversed(self._within(q))]
        self._add(p, line, (self._shape(p), self._shape(q)))

    def end(
        self, port: Port, points: Sequence[Point], side: Side, name: str, *, named: bool = True
    ) -> None:
        """Draw an open leg, and its name beyond its last point if it is `named`.

        An end to the left or right becomes an ending of the piece.
        """
        last = points[-1]
        if side == "left" or side == "right":
            sign: int = 1 if side == "right" else -1
            self.piece.endings[name] = Ending(len(self.piece.wires), side)
            anchor: Anchor = "start" if side == "right" else "end"
            text = Text(last.x + 3 * sign, last.y, name, "leg", LEG, anchor)
        else:
            sign = 1 if side == "down" else -1
            text = Text(last.x, last.y + sign * (LEG * 0.6 + 1), name, "leg", LEG)
        if named:
            self.piece.texts.append(text)
        self._add(port, [*self._within(port), *points], (self._shape(port), None))

    def _within(self, port: Port) -> Sequence[Point]:
        return self._inner[port].points if port in self._inner else ()

    def _shape(self, port: Port) -> int:
        """Number of the shape at which a leg starts, which may be within a frame."""
        if port in self._inner and (start := self._inner[port].ends[0]) is not None:
            return start
        return self.piece.centres[port.node] + self.blocks[port.node].starts.get(port.leg, 0)

    def _add(self, port: Port, points: Sequence[Point], ends: tuple[int, int | None]) -> None:
        leg = self.blocks[port.node].legs[port.leg]
        line = list(straightened(points))
        for place, step in ((0, 1), (-1, -1)):
            end = ends[place]
            if end is not None and (shape := self.piece.shapes[end]).outline == "dot":
                line[place] = _toward(Point(shape.x, shape.y), line[place + step], shape.width / 2)
        self.piece.wires.append(Wire(tuple(line), leg.dim, str(leg), ends))


def _toward(start: Point, goal: Point, distance: float) -> Point:
    dx, dy = goal.x - start.x, goal.y - start.y
    length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    return Point(start.x + dx / length * distance, start.y + dy / length * distance)
