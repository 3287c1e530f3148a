"""Small tables of numbers as coloured cells: cosines of directions, and where these act."""

from collections.abc import Sequence
from typing import NamedTuple

from unmask.reports.scales import STEPS
from unmask.steering.describe import Description

CELL, LEFT, TOP = 34, 34, 24


class MapSquare(NamedTuple):
    """One cell, in pixels."""

    x: int
    y: int
    shade: int
    label: str


class Map(NamedTuple):
    """A table with named columns and rows."""

    width: int
    height: int
    columns: tuple[tuple[int, str], ...]
    rows: tuple[tuple[int, str], ...]
    squares: tuple[MapSquare, ...]


class Maps(NamedTuple):
    """What is drawn of some directions."""

    cosines: Map
    along: Map


def view_directions(
    directions: Sequence[Description],
    cosines: Sequence[Sequence[float]],
    names: Sequence[object],
    first_block: int,
) -> Maps:
    """Lay out how alike directions are, and where they act; `first_block` is the first column's."""
    along = [one.along for one in directions]
    n_blocks = len(along[0]) if along else 0
    blocks = range(first_block, first_block + n_blocks)
    return Maps(make_map(cosines, names, names, 1.0), make_map(along, blocks, names))


def make_map(
    values: Sequence[Sequence[float]],
    columns: Sequence[object],
    rows: Sequence[object],
    strongest: float | None = None,
) -> Map:
    """Lay out a table; the strongest colour is that of `strongest`, or of the largest value."""
    most = strongest or max((abs(value) for line in values for value in line), default=1.0) or 1.0
    return Map(
        LEFT + CELL * len(columns) + 4,
        TOP + CELL * len(rows) + 4,
        tuple((LEFT + CELL * i + CELL // 2, str(name)) for i, name in enumerate(columns)),
        tuple((TOP + CELL * i + 22, str(name)) for i, name in enumerate(rows)),
        tuple(
            MapSquare(
                LEFT + CELL * column,
                TOP + CELL * row,
                round(STEPS * max(-1.0, min(1.0, value / most))),
                f"{value:.2f}".replace("0.", ".", 1).replace("-", "\u2212"),
            )
            for row, line in enumerate(values)
            for column, value in enumerate(line)
        ),
    )
