"""Wires between blocks that stand anywhere: short ways with few corners around what is there."""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from wirework.layout.piece import Bounds
from wirework.layout.scene import Point

CLEAR = 3.0
"""Between a wire and what it passes."""
OUT = 9.0
"""How far a wire runs straight on from its leg."""
_CORNER, _CROSSING = 30.0, 45.0
"""What a corner and a crossing cost, in points of length."""
_STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))
Place = tuple[int, int]
"""A point of the grid, by the numbers of its lines."""


class Router:
    """A grid of lines beside and through what is there, on which wires look for their way."""

    def __init__(self, obstacles: Sequence[Bounds], ports: Iterable[Point]) -> None:
        """Lay lines beside all obstacles and through all ports."""
        xs, ys = {round(p.x, 3) for p in ports}, {round(p.y, 3) for p in ports}
        for left, top, right, bottom in obstacles:
            for away in (OUT, 2 * OUT):
                xs |= {round(left - away, 3), round(right + away, 3)}
                ys |= {round(top - away, 3), round(bottom + away, 3)}
        self.xs, self.ys = sorted(xs), sorted(ys)
        self.near = _close_lines(self.xs), _close_lines(self.ys)
        self.closed: set[Place] = set()
        self.taken: dict[Place, int] = {}
        """Grid points on wires: 1 if one passes level, 2 if upright, 3 if it turns or both."""
        self.kept: set[Place] = set()
        """Where wires begin; only their own may pass."""
        self.walls: set[frozenset[Place]] = set()
        for left, top, right, bottom in obstacles:
            self._close(left - CLEAR, top - CLEAR, right + CLEAR, bottom + CLEAR)

    def place(self, point: Point) -> Place:
        """The grid point at, or nearest to, a point."""
        return _nearest(self.xs, point.x), _nearest(self.ys, point.y)

    def keep(self, start: Point, end: Point) -> None:
        """Keep the way from a leg to where its wire may turn free of other wires."""
        (ax, ay), (bx, by) = self.place(start), self.place(end)
        self.kept.update(
            (x, y)
            for x in range(min(ax, bx), max(ax, bx) + 1)
            for y in range(min(ay, by), max(ay, by) + 1)
        )

    def route(self, start: Point, goal: Point) -> list[Point] | None:
        """The cheapest way that is still free, which is taken then; None if there is none."""
        first, last = self.place(start), self.place(goal)
        best: dict[tuple[Place, int], float] = {}
        before: dict[tuple[Place, int], tuple[Place, int] | None] = {}
        heap: list[tuple[float, float, Place, int]] = []
        for way in (0, 1):
            best[first, way], before[first, way] = 0.0, None
            heapq.heappush(heap, (self._left(first, last), 0.0, first, way))
        while heap:
            _, cost, here, way = heapq.heappop(heap)
            if cost > best[here, way]:
                continue
            if here == last:
                return self._take((here, way), before)
            for there, turn, length in self._steps(here, way, last):
                total = cost + length
                if total < best.get((there, turn), float("inf")) - 1e-9:
                    best[there, turn], before[there, turn] = total, (here, way)
                    heapq.heappush(heap, (total + self._left(there, last), total, there, turn))
        return None

    def _steps(self, here: Place, way: int, last: Place) -> Iterable[tuple[Place, int, float]]:
        """Neighbours, whether the way to them is level (0) or upright (1), and what it costs."""
        occupied = self.taken.get(here, 0)
        for dx, dy in _STEPS:
            turn = 0 if dx else 1
            there = here[0] + dx, here[1] + dy
            if not (0 <= there[0] < len(self.xs) and 0 <= there[1] < len(self.ys)):
                continue
            if there != last and (there in self.closed or there in self.kept):
                continue
            if frozenset((here, there)) in self.walls:
                continue
            # On another wire there is only one way: straight across.
            if occupied and turn != way or self.taken.get(there, 0) & (1 << turn):
                continue
            length = abs(self.xs[there[0]] - self.xs[here[0]])
            length += abs(self.ys[there[1]] - self.ys[here[1]])
            cost = length + (_CORNER if turn != way else 0.0)
            yield there, turn, cost + (_CROSSING if there in self.taken else 0.0)

    def _left(self, here: Place, last: Place) -> float:
        away = abs(self.xs[here[0]] - self.xs[last[0]]) + abs(self.ys[here[1]] - self.ys[last[1]])
        return away + (_CORNER if here[0] != last[0] and here[1] != last[1] else 0.0)

    def _take(
        self, end: tuple[Place, int], before: dict[tuple[Place, int], tuple[Place, int] | None]
    ) -> list[Point]:
        path = [end]
        while (previous := before[path[-1]]) is not None:
            path.append(previous)
        path.reverse()
        for (here, _), (there, way) in zip(path, path[1:], strict=False):
            self.walls.add(frozenset((here, there)))
            # A wire on a line that is nearly this one would touch it.
            for line in self.near[1 - way][here[1 - way]]:
                beside = [(line, p[1]) if way else (p[0], line) for p in (here, there)]
                self.walls.add(frozenset(beside))
            for place in (here, there):
                self.taken[place] = self.taken.get(place, 0) | (1 << way)
        return [Point(self.xs[x], self.ys[y]) for (x, y), _ in path]

    def _close(self, left: float, top: float, right: float, bottom: float) -> None:
        """Close all grid points in a rectangle, and the lines across it that have none."""
        columns = range(bisect_left(self.xs, left), bisect_left(self.xs, right))
        lines = range(bisect_left(self.ys, top), bisect_left(self.ys, bottom))
        self.closed.update((x, y) for x in columns for y in lines)
        if not columns:
            x = columns.start
            self.walls.update(frozenset(((x - 1, y), (x, y))) for y in lines)
        if not lines:
            y = lines.start
            self.walls.update(frozenset(((x, y - 1), (x, y))) for x in columns)


def _close_lines(lines: Sequence[float]) -> list[list[int]]:
    """For each line, those that are so near that wires on both would touch."""
    return [
        [
            other
            for other in range(bisect_left(lines, at - CLEAR), bisect_left(lines, at + CLEAR))
            if other != number
        ]
        for number, at in enumerate(lines)
    ]


def _nearest(lines: Sequence[float], at: float) -> int:
    place = bisect_left(lines, at)
    near = range(max(place - 1, 0), min(place + 1, len(lines)))
    return min(near, key=lambda one: abs(lines[one] - at))
