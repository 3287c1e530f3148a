"""A grid of settings as a heat map (layer by scale), or as a list of bars."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from unmask.arms.evidence import Cell, Evidence
from unmask.reports.formatting import plain, setting_text, signed, value_text
from unmask.reports.scales import shade

CELL_WIDTH, CELL_HEIGHT = 64, 30
LEFT, TOP = 76, 34
_HATCH = 8


class Square(NamedTuple):
    """One cell of a heat map, in pixels."""

    x: int
    y: int
    shade: int
    label: str
    title: str
    hatch: str
    """Path of the hatching; empty for a setting within the damage budget."""
    selected: bool


class Facet(NamedTuple):
    """One heat map: layer, or direction, downwards; scale to the right."""

    title: str
    width: int
    height: int
    x_name: str
    y_name: str
    columns: tuple[tuple[int, str], ...]
    rows: tuple[tuple[int, str], ...]
    squares: tuple[Square, ...]


class Bar(NamedTuple):
    """One setting of a grid that is no heat map."""

    label: str
    gain: float
    damage: str
    within_budget: bool | None
    selected: bool


class GridView(NamedTuple):
    """The grid of one arm; either facets or bars are empty."""

    facets: tuple[Facet, ...]
    bars: tuple[Bar, ...]


def view_grid(evidence: Evidence, strongest: float) -> GridView:
    """Lay out an arm's grid; a heat map where every setting has a layer and a scale or sigma."""
    cells = evidence.cells
    x_name = next((n for n in ("scale", "sigma") if all(n in c.setting for c in cells)), "")
    y_name = next((n for n in ("direction", "layer") if all(n in c.setting for c in cells)), "")
    if not (x_name and y_name):
        return GridView((), tuple(_bar(cell, evidence.setting) for cell in cells))
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        others = {n: v for n, v in cell.setting.items() if n not in (y_name, x_name)}
        groups.setdefault(setting_text(others) if others else "", []).append(cell)
    titled = len(groups) > 1
    return GridView(
        tuple(
            _facet(title if titled else "", group, (x_name, y_name), evidence.setting, strongest)
            for title, group in groups.items()
        ),
        (),
    )


def _bar(cell: Cell, selected: Mapping[str, Any] | None) -> Bar:
    return Bar(
        setting_text(cell.setting),
        cell.gain,
        plain(cell.damage_nats),
        cell.within_budget,
        _is_selected(cell, selected),
    )


def _facet(
    title: str,
    cells: list[Cell],
    names: tuple[str, str],
    selected: Mapping[str, Any] | None,
    strongest: float,
) -> Facet:
    x_name, y_name = names
    columns = _ordered(cell.setting[x_name] for cell in cells)
    rows = _ordered(cell.setting[y_name] for cell in cells)
    squares = tuple(
        _square(
            cell,
            LEFT + CELL_WIDTH * columns.index(cell.setting[x_name]),
            TOP + CELL_HEIGHT * rows.index(cell.setting[y_name]),
            strongest,
            _is_selected(cell, selected),
        )
        for cell in cells
    )
    return Facet(
        title,
        LEFT + CELL_WIDTH * len(columns) + 2,
        TOP + CELL_HEIGHT * len(rows) + 2,
        x_name,
        y_name,
        tuple((LEFT + CELL_WIDTH * i + CELL_WIDTH // 2, _short(v)) for i, v in enumerate(columns)),
        tuple((TOP + CELL_HEIGHT * i + CELL_HEIGHT // 2, _short(v)) for i, v in enumerate(rows)),
        tuple(sorted(squares, key=lambda square: square.selected)),
    )


def _square(cell: Cell, x: int, y: int, strongest: float, selected: bool) -> Square:
    notes = ["over the damage budget"] if cell.within_budget is False else []
    measured = cell.damage_nats is not None
    damage = (
        f"damage {plain(cell.damage_nats)} nats per token" if measured else "damage not measured"
    )
    title = f"{setting_text(cell.setting)}: gain {signed(cell.gain)}, {damage}"
    return Square(
        x,
        y,
        shade(cell.gain, strongest),
        signed(cell.gain, 2),
        "; ".join([title, *notes, *(["selected"] if selected else [])]),
        hatch(x, y, CELL_WIDTH, CELL_HEIGHT) if cell.within_budget is False else "",
        selected,
    )


def hatch(x: int, y: int, width: int, height: int) -> str:
    """Path of diagonal lines that stay within a rectangle."""
    lines = []
    for offset in range(_HATCH - height, width, _HATCH):
        start, end = max(offset, 0), min(offset + height, width)
        lines.append(
            f"M{x + start} {y + height - (start - offset)}L{x + end} {y + height - (end - offset)}"
        )
    return "".join(lines)


def _is_selected(cell: Cell, selected: Mapping[str, Any] | None) -> bool:
    return selected is not None and dict(cell.setting) == dict(selected)


def _ordered(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    if all(isinstance(value, int | float) for value in distinct):
        distinct.sort()
    return distinct


def _short(value: Any) -> str:
    text = value_text(value)
    return text if len(text) <= 9 else f"{text[:8]}…"
