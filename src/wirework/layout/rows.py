"""The order of cells within columns, with few crossings, and how high each stands."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from wirework.layout.cells import Cell, Exit
from wirework.layout.piece import Margin

GAP = 14.0
"""Between cells of a column; wires that pass need less."""
_SWEEPS = 8
_SMALL = 150
"""Up to so many cells, neighbours are also exchanged while that helps."""

_NEAR: tuple[tuple[Margin, int], ...] = (("left", -1), ("right", 1))
_BACK: dict[Margin, Margin] = {"left": "right", "right": "left"}

Columns = list[list[Cell]]


def ordered(columns: Columns) -> None:
    """Sort the cells of each column so that few wires cross; what is equal keeps its order."""
    best, kept = _crossings(columns), [list(column) for column in columns]
    for sweep in range(_SWEEPS):
        if not best:
            break
        side: Margin = "right" if sweep % 2 else "left"
        for column in columns if side == "left" else reversed(columns):
            _sort(columns, column, side)
        if (found := _crossings(columns)) < best:
            best, kept = found, [list(column) for column in columns]
    for column, cells in zip(columns, kept, strict=True):
        column[:] = cells
    fan(columns)
    if best and sum(map(len, columns)) <= _SMALL:
        _exchange(columns, best)
    fan(columns)


def fan(columns: Columns) -> None:
    """Sort the wires of dots by where they go."""
    for number, column in enumerate(columns):
        for side, step in _NEAR:
            if not 0 <= number + step < len(columns):
                continue
            places = _places(columns[number + step], _BACK[side])
            for cell in column:
                if cell.is_dot:
                    exits = cell.exits(side)
                    heights = sorted(one.y for one in exits)
                    exits.sort(
                        key=lambda one: min((places.get(o, 1e9) for o in one.links), default=0.0)
                    )
                    for one, y in zip(exits, heights, strict=True):
                        one.y = y


def twisted(columns: Columns, cell: Cell) -> bool:
    """Whether the wires of a cell would cross less if it stood on its head."""
    found = 0
    for side, step in _NEAR:
        number = cell.column + step
        if len(cell.exits(side)) < 2 or not 0 <= number < len(columns):
            continue
        places = _places(columns[number], _BACK[side])
        ends = [places.get(other, 0.0) for one in cell.exits(side) for other in one.links]
        for place, end in enumerate(ends):
            found += sum((end > other) - (end < other) for other in ends[place + 1 :])
    return found > 0


def _places(column: Sequence[Cell], side: Margin) -> dict[Exit, float]:
    """Where each exit of a column stands in its order; all exits of a dot at the same place."""
    found: dict[Exit, float] = {}
    for cell in column:
        start = len(found)
        exits = cell.exits(side)
        for place, one in enumerate(exits):
            found[one] = start + ((len(exits) - 1) / 2 if cell.is_dot else float(place))
    return found


def _sort(columns: Columns, column: list[Cell], side: Margin) -> None:
    """Sort one column by where the wires on one side go."""
    number = column[0].column + (-1 if side == "left" else 1) if column else -1
    if not 0 <= number < len(columns):
        return
    places = _places(columns[number], _BACK[side])
    wishes: list[tuple[float, Cell]] = []
    fixed: list[Cell | None] = []
    for cell in column:
        ends = [places[other] for one in cell.exits(side) for other in one.links if other in places]
        if ends:
            wishes.append((sum(ends) / len(ends), cell))
        fixed.append(None if ends else cell)
    sequence = iter([cell for _, cell in sorted(wishes, key=lambda wish: wish[0])])
    column[:] = [cell or next(sequence) for cell in fixed]


def _crossings(columns: Columns) -> int:
    return sum(map(_between, columns, columns[1:]))


def _between(left: Sequence[Cell], right: Sequence[Cell]) -> int:
    """Crossings of the wires between two columns, by counting inversions."""
    starts, ends = _places(left, "right"), _places(right, "left")
    pairs = sorted(
        (starts[one], ends[other])
        for cell in left
        for one in cell.right
        for other in one.links
        if other in ends
    )
    return _inversions(pairs)


def _inversions(pairs: Sequence[tuple[float, float]]) -> int:
    found, seen, equal = 0, [], []
    last = None
    for start, end in pairs:
        if start != last:
            for one in equal:
                insort(seen, one)
            equal, last = [], start
        found += len(seen) - bisect_left(seen, end + 1e-9)
        equal.append(end)
    return found


def _exchange(columns: Columns, best: int) -> None:
    """Exchange neighbours in a column as long as fewer wires cross."""
    for _ in range(6):
        before = best
        for number, column in enumerate(columns):
            near = columns[max(number - 1, 0) : number + 2]
            for place in range(len(column) - 1):
                old = _crossings(near)
                column[place], column[place + 1] = column[place + 1], column[place]
                gain = old - _crossings(near)
                if gain > 0:
                    best -= gain
                else:
                    column[place], column[place + 1] = column[place + 1], column[place]
        if best == before:
            return


def stand(columns: Columns) -> None:
    """Give each cell its height, so that wires are straight and what forks stands in the middle."""
    standing = [_Column(column) for column in columns]
    for column in standing:
        for cell, offset in zip(column.cells, column.offsets, strict=True):
            cell.y = offset
    for sweep in range(3):
        for column in standing[1:]:
            column.align(column.left)
        for column in reversed(standing[:-1]):
            column.align(column.right)
        if sweep == 1:
            for column in standing:
                column.align(column.both)
    for _ in range(3):
        for column in standing:
            column.even_out()


@dataclass(frozen=True, slots=True)
class _End:
    """One wire of a cell: where it arrives and where it starts, each below a cell's centre."""

    cell: Cell
    y: float
    start: float


class _Column:
    """Cells in their order, with what is asked of them again and again."""

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = cells
        self.gaps = list(map(_apart, cells, cells[1:]))
        self.offsets = list(accumulate(self.gaps, initial=0.0))[: len(cells)]
        self.left = [_ends(cell, cell.left) for cell in cells]
        self.right = [_ends(cell, cell.right) for cell in cells]
        self.both = [a + b for a, b in zip(self.left, self.right, strict=True)]

    def align(self, ends: Sequence[list[_End]]) -> None:
        """Move the cells to where their wires go, and keep their order and distances."""
        blocks: list[tuple[float, float, int]] = []
        for cell, offset, mine in zip(self.cells, self.offsets, ends, strict=True):
            wish, mass = _wish(cell, mine)
            total, count = (wish - offset) * mass, 1
            while blocks and blocks[-1][0] / blocks[-1][1] > total / mass:
                before = blocks.pop()
                total, mass, count = before[0] + total, before[1] + mass, before[2] + count
            blocks.append((total, mass, count))
        place = 0
        for total, mass, count in blocks:
            start = total / mass
            for number in range(place, place + count):
                self.cells[number].y = start + self.offsets[number]
            place += count

    def even_out(self) -> None:
        """Straighten wires that are nearly straight, where there is room."""
        cells, gaps = self.cells, self.gaps
        for place, cell in enumerate(cells):
            lowest, highest = float("-inf"), float("inf")
            if place:
                lowest = cells[place - 1].y + gaps[place - 1] - cell.y
            if place + 1 < len(cells):
                highest = cells[place + 1].y - gaps[place] - cell.y
            cell.y += _step(cell, self.both[place], lowest, highest)


def _apart(above: Cell, below: Cell) -> float:
    """How far below one cell's centre the next one's must be."""
    gap = GAP
    if "pass" in (above.kind, below.kind) or "end" in (above.kind, below.kind):
        gap = 8.0 if above.kind == below.kind == "pass" else 6.0
    return above.bounds[3] - below.bounds[1] + gap


def _ends(cell: Cell, exits: Sequence[Exit]) -> list[_End]:
    return [
        _End(other.cell, other.y, one.y)
        for one in exits
        for other in one.links
        if other.cell is not cell
    ]


def _wish(cell: Cell, ends: Sequence[_End]) -> tuple[float, float]:
    """Where a cell's wires would be straight, and how much that matters."""
    if not ends:
        return cell.y, 0.01
    mass = 3.0 if cell.kind == "pass" else 1.0
    dot = cell.is_dot
    found = [end.cell.y + end.y - (0.0 if dot else end.start) for end in ends]
    if len(found) == 1:
        return found[0], mass
    found.sort()
    middle = found[(len(found) - 1) // 2 : len(found) // 2 + 1]
    if len(found) > 2 and found[-1] - found[0] < 3 * GAP:
        middle = found
    return sum(middle) / len(middle), mass


def _step(cell: Cell, ends: Sequence[_End], lowest: float, highest: float) -> float:
    """The step that makes most wires of a cell straight; none if it makes no more than before."""
    steps = [end.cell.y + end.y - cell.y - end.start for end in ends]
    found, most = 0.0, sum(abs(one) < 1e-9 for one in steps)
    if most == len(steps):
        return found
    for step in steps:
        count = sum(abs(one - step) < 1e-9 for one in steps)
        if count > most and abs(step) < GAP and lowest <= step <= highest:
            found, most = step, count
    return found
