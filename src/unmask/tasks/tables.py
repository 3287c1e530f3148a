"""From csv rows to records by column, with or without a header."""

import re
from collections.abc import Sequence
from typing import Any

from unmask.errors import TaskError
from unmask.tasks.faults import show
from unmask.tasks.files import Record
from unmask.tasks.item import LETTERS

_OPTION = re.compile(r"[a-z]|(?:option|choice)[ _]?(?:[0-9]{1,2}|[a-z])")


def headed_records(rows: Sequence[Record]) -> list[Record] | None:
    """Return the rows under a header by column, or nothing if there is no header.

    A header is a first row with a column called question or statement, whatever the case. Columns
    A, B, ... or option_1, option_2, ... are gathered into `options`.
    """
    header = [cell.strip().casefold() for cell in rows[0].value]
    if not {"question", "statement"} & set(header):
        return None
    for name in header:
        if name and header.count(name) > 1:
            raise TaskError(
                f"{rows[0].where}: expected columns with different names, got {show(name)} twice. "
                "Which of them counts is unclear. Rename one."
            )
    if len(rows) == 1:
        raise TaskError(
            f"{rows[0].where}: expected rows under the header, got none. The export may have been "
            "interrupted. Write the file again."
        )
    options = [place for place, name in enumerate(header) if _OPTION.fullmatch(name)]
    records = []
    for row in rows[1:]:
        _check_width(row, len(header), "as the header has")
        record: dict[str, Any] = dict(zip(header, row.value, strict=True))
        if len(options) > 1:
            record["options"] = _gather(row, options)
        records.append(Record(row.where, record))
    return records


def headless_records(rows: Sequence[Record]) -> list[Record]:
    """Return rows of question, options and letter as records."""
    first = rows[0]
    width = len(first.value)
    last = first.value[-1].strip()
    if width < 4 or len(last) != 1 or last not in LETTERS:
        raise TaskError(
            f"{first.where}: expected a header with a column called question or statement, or a "
            "row of question, two options or more, and the answer's letter, got "
            f"{width} {'cell' if width == 1 else 'cells'}: "
            f"{', '.join(show(cell, 20) for cell in first.value[:8])}. "
            "The known layouts are plain (question, answer, and options, choices or columns A, B, "
            "...), true/false (statement, label), TruthfulQA (Question, Best Answer, Incorrect "
            "Answers) and MMLU (no header). Rename the columns."
        )
    for row in rows:
        _check_width(row, width, "as the first row has")
    return [
        Record(row.where, {"question": cells[0], "options": cells[1:-1], "answer": cells[-1]})
        for row in rows
        for cells in [row.value]
    ]


def _check_width(row: Record, width: int, whence: str) -> None:
    if len(row.value) != width:
        raise TaskError(
            f"{row.where}: expected {width} cells, {whence}, got {len(row.value)}. A comma may "
            "stand in a cell without quotes, or the row be cut short. Mend the row."
        )


def _gather(row: Record, places: Sequence[int]) -> list[str]:
    """Return the option cells of a row; it may leave the last of them blank."""
    cells = [row.value[place] for place in places]
    while cells and not cells[-1].strip():
        cells.pop()
    return cells
