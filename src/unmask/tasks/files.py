"""Reading files: bytes to text, and text to records with the lines they stand on."""

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from unmask.errors import TaskError
from unmask.tasks.faults import show


class Record(NamedTuple):
    """One record as the file holds it."""

    where: str
    """File and line, or file and number of the record."""
    value: Any


def read_text(path: Path) -> str:
    """Read a utf-8 file, with or without a byte order mark.

    Raises:
        TaskError: If it cannot be read, is empty, or is no utf-8 text.
    """
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise TaskError(
            f"{path}: expected a file that can be read, got {type(error).__name__}: {error}. "
            "The path or its permissions may be wrong. Check both."
        ) from None
    if not raw.strip(b"\xef\xbb\xbf \t\r\n"):
        raise TaskError(
            f"{path}: expected records, got an empty file. A download or an export may have been "
            "interrupted. Write the file again."
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _not_text(path, "a utf-16 byte order mark", "Save the file as utf-8.")
    if b"\x00" in raw:
        where = f"a NUL byte at offset {raw.index(0)}"
        raise _not_text(path, where, "It may be a binary file. Give a text file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _not_text(
            path,
            f"the byte 0x{error.object[error.start]:02x} on line {line}",
            "It may be in an older encoding. Save the file as utf-8.",
        ) from None


def _not_text(path: Path, got: str, help: str) -> TaskError:
    return TaskError(f"{path}: expected utf-8 text, got {got}. {help}")


def json_records(path: Path, text: str) -> list[Record]:
    """Return the entries of a file that is one JSON list."""
    value = _parse_json(text, str(path))
    if not isinstance(value, list) or not value:
        raise TaskError(
            f"{path}: expected a JSON list of records, got {_kind(value)}. The records may stand "
            "under a key, or one to a line. Write them as one list, or name the file .jsonl."
        )
    return [Record(f"{path}, record {index}", entry) for index, entry in enumerate(value, 1)]


def jsonl_records(path: Path, text: str) -> list[Record]:
    """Return the lines of a file with one JSON value on each line; blank lines are skipped."""
    # Not splitlines(): JSON texts may hold U+2028 and its like.
    lines = ((f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1))
    return [Record(where, _parse_json(line, where)) for where, line in lines if line.strip()]


def csv_rows(path: Path, text: str) -> list[Record]:
    """Return the rows of a csv file as lists of cells; blank lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Record] = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(Record(f"{path}, line {line}", cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(
            f"{path}, line {line}: expected a csv row, got {error}. A quote may be missing, or "
            "stand inside a cell without being doubled. Mend the quotes."
        ) from None
    if not rows:
        raise TaskError(f"{path}: expected csv rows, got blank cells only. Write the file again.")
    return rows


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _bad_json(where, f"{error.msg} at {place} of {show(text.strip(), 40)}") from None
    except RecursionError:
        raise _bad_json(where, "lists nested too deeply") from None
    except ValueError as error:
        raise _bad_json(where, str(error).partition(";")[0]) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"the value {name}, which JSON does not have")


def _bad_json(where: str, got: str) -> TaskError:
    return TaskError(
        f"{where}: expected JSON, got {got}. The file may be cut short or of another kind. Mend "
        "the text, or give the file the ending of its kind (.jsonl: one object to a line; .json: "
        "one list)."
    )


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an empty list"
    if isinstance(value, dict):
        keys = ", ".join(show(key, 20) for key in list(value)[:6])
        return f"an object with the keys {keys}" if keys else "an empty object"
    return show(value)
