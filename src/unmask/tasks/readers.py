"""From a file, a folder or a corpus to a task."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from unmask.errors import TaskError
from unmask.tasks.cloze import cloze_items, split_documents
from unmask.tasks.faults import KnownDefectError, show
from unmask.tasks.files import (
    Record,
    csv_rows,
    json_records,
    jsonl_records,
    read_text,
)
from unmask.tasks.item import Frame, Item
from unmask.tasks.layouts import CSV_LAYOUTS, JSON_LAYOUTS, MMLU, PLAIN, Layout
from unmask.tasks.matching import MATCHES, Match
from unmask.tasks.tables import headed_records, headless_records
from unmask.tasks.task import (
    FORMATS,
    FRAMES,
    MEASURES,
    Format,
    Measures,
    Task,
    default_format,
)

logger = logging.getLogger(__name__)

CLOZE = "cloze:"
SUPPORTED = (
    "a .jsonl, .json or .csv file of questions, a folder of *_test.csv files, or "
    f"{CLOZE}PATH for a corpus of texts (.json, .jsonl or plain text)"
)

TOLERATED = 0.1
"""Share of a data set's records that may have a known defect and are then left out."""


class _Batch(NamedTuple):
    """Items of one file or folder, and the records that were left out."""

    items: list[Item]
    layout: Layout
    match: Match | None
    measures: Measures | None
    format: Format | None
    frame: Frame | None
    defects: list[TaskError]


def load_task(
    spec: str | Path,
    *,
    format: Format | None = None,
    name: str | None = None,
    match: Match | None = None,
    max_new_tokens: int | None = None,
    measures: Measures | None = None,
) -> Task:
    """Read a task from a file, a folder or a corpus.

    The layout is told by the first record; all of the file is checked before anything is
    returned. Published data sets have a few records with equal options or several questions;
    these are left out, with a warning that counts them, as long as they are few.

    Args:
        spec: Path of a .jsonl, .json or .csv file of questions, of a folder of ``*_test.csv``
            files, or ``cloze:`` and the path of a corpus, which is made into four-way next-passage
            items.
        format: How answers are given: by the letter of a listed option, by the text of a listed or
            of an unlisted option, or written freely. By default as the file says; else by letter
            if all items have options, by text for passages, and open otherwise.
        name: Name of the task; by default the file's.
        match: How written answers are compared; by default as the file says, or as its layout
            needs.
        max_new_tokens: Length of written answers; by default as the layout needs.
        measures: What a high score shows, a capability or a behaviour; by default as the file says,
            or as its layout needs: a capability, but for model-written evals.

    Raises:
        TaskError: If there is no such file, its layout is unknown, or any record is malformed. The
            message names file, line and field.
    """
    text = str(spec)
    if isinstance(spec, str) and text.startswith(CLOZE):
        task = _load_cloze(text, format, name, match, max_new_tokens)
        return replace(task, measures=measures or task.measures)
    path = Path(spec)
    batch = _read_folder(path) if _exists(path, text) == "folder" else _read_file(path)
    _judge_defects(str(path), batch)
    task = _task(
        name or _name(path),
        tuple(batch.items),
        format or batch.format,
        batch.frame or "question",
        match or batch.match or batch.layout.match,
        max_new_tokens or batch.layout.max_new_tokens,
        text,
    )
    return replace(task, measures=measures or batch.measures or batch.layout.measures)


def _task(
    name: str,
    items: tuple[Item, ...],
    format: Format | None,
    frame: Frame,
    match: Match,
    max_new_tokens: int,
    source: str,
) -> Task:
    chosen = format or default_format(items, frame)
    return Task(name, items, chosen, match, frame, max_new_tokens, source)


def _load_cloze(
    spec: str,
    format: Format | None,
    name: str | None,
    match: Match | None,
    max_new_tokens: int | None,
) -> Task:
    path = Path(spec.removeprefix(CLOZE))
    if _exists(path, spec) == "folder":
        raise TaskError(
            f"{path}: expected a corpus in one file, got a folder. Name one file in it: "
            f"{CLOZE}{path}/FILE."
        )
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix in {".json", ".jsonl"}:
        records = json_records(path, text) if suffix == ".json" else jsonl_records(path, text)
        documents = [_document(record) for record in records]
    else:
        documents = [part for part in split_documents(text) if part.strip()]
    items = cloze_items(documents, str(path))
    name = name or f"{CLOZE}{path.stem}"
    return _task(name, items, format, "passage", match or "exact", max_new_tokens or 24, spec)


def _document(record: Record) -> str:
    text = record.value.get("text") if isinstance(record.value, dict) else record.value
    if not isinstance(text, str):
        raise TaskError(
            f"{record.where}, field 'text': expected a text, or an object with the field 'text', "
            f"got {show(record.value)}. The corpus may have another field for its texts. Rename it."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TaskError(
            f"{record.where}, field 'text': expected text that can be written as utf-8, got the "
            f"lone surrogate {ascii(text[error.start])}. An escape was cut from its second half. "
            "Write the character itself."
        ) from None
    return text


def _exists(path: Path, spec: str) -> str:
    """Tell whether a path is a file or a folder."""
    try:
        if path.is_dir():
            return "folder"
        if path.is_file():
            return "file"
    except (OSError, ValueError):
        pass
    raise TaskError(
        f"Expected a task, got {show(spec, 200)}, which is no file or folder. The name may be "
        f"misspelt, or relative to another folder. Supported are {SUPPORTED}."
    )


def _name(path: Path) -> str:
    stem = path.resolve().stem
    # data_mmlu/test says little by its last part.
    return path.resolve().parent.name if stem in {"test", "dev", "val"} and path.is_dir() else stem


def _read_folder(folder: Path) -> _Batch:
    try:
        files = sorted(folder.glob("*_test.csv")) or sorted(folder.glob("*_dev.csv"))
        found = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise TaskError(
            f"{folder}: expected a folder that can be read, got {error}. Check its permissions."
        ) from None
    if not files:
        listed = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        raise TaskError(
            f"{folder}: expected files named *_test.csv (or *_dev.csv), got "
            f"{listed or 'an empty folder'}. The files may lie one folder deeper, or have another "
            "layout. Name that folder, or one file."
        )
    batches = [_read_file(path) for path in files]
    for path, batch in zip(files, batches, strict=True):
        if batch._replace(items=[], defects=[]) != batches[0]._replace(items=[], defects=[]):
            raise TaskError(
                f"{path}: expected the layout {batches[0].layout.name}, as {files[0].name} has, "
                f"got {batch.layout.name} or another match. The folder may mix tasks. Load the "
                "files one by one."
            )
    items = [item for batch in batches for item in batch.items]
    defects = [error for batch in batches for error in batch.defects]
    return batches[0]._replace(items=items, defects=defects)


def _read_file(path: Path) -> _Batch:
    suffix = path.suffix.lower()
    if suffix not in {".json", ".jsonl", ".csv"}:
        raise TaskError(
            f"{path}: expected a file ending in .jsonl, .json or .csv, got "
            f"{suffix or 'no ending'}. Supported are {SUPPORTED}. For a text, write {CLOZE}{path}."
        )
    text = read_text(path)
    if suffix == ".csv":
        rows = csv_rows(path, text)
        records, layout = headed_records(rows), None
        if records is None:
            records, layout = headless_records(rows), MMLU
        layout = layout or _detect(records, CSV_LAYOUTS, path)
    else:
        records = json_records(path, text) if suffix == ".json" else jsonl_records(path, text)
        layout = _detect(records, JSON_LAYOUTS, path)
    return _read_records(records, layout, str(path))


def _detect(records: Sequence[Record], layouts: tuple[Layout, ...], path: Path) -> Layout:
    first = records[0]
    if isinstance(first.value, dict):
        for layout in layouts:
            if layout.fits(first.value):
                return layout
        got = f"the fields {', '.join(show(key, 30) for key in list(first.value)[:12]) or 'none'}"
    elif isinstance(first.value, str):
        got = f"the text {show(first.value, 30)} (for a list of texts, write {CLOZE}{path})"
    else:
        got = show(first.value)
    known = "; ".join(f"{layout.name} ({layout.looks})" for layout in layouts)
    raise TaskError(
        f"{first.where}: expected a record of a known layout, got {got}. Known are {known}. "
        "The fields may have other names. Rename them to those of the plain layout."
    )


def _read_records(records: Sequence[Record], layout: Layout, where: str) -> _Batch:
    """Turn all records into items, or raise for the first that is malformed."""
    items: list[Item] = []
    defects: list[TaskError] = []
    errors: list[TaskError] = []
    declared: dict[str, dict[Any, str]] = {field: {} for field in _DECLARED}
    for record in records:
        try:
            if not isinstance(record.value, dict):
                raise TaskError(
                    f"expected an object, got {show(record.value)}. The file may mix two layouts. "
                    "Give every record the same one."
                )
            for field, seen in declared.items() if layout is PLAIN else ():
                if value := _declared(record, field):
                    seen.setdefault(value, record.where)
            items.append(layout.read(record.value))
        except TaskError as error:
            told = defects if isinstance(error, KnownDefectError) else errors
            told.append(TaskError(f"{record.where}, {error}"))
    if errors:
        more = f" {len(errors) - 1} more records are malformed." if len(errors) > 1 else ""
        raise TaskError(f"{errors[0]}{more}")
    for field, seen in declared.items():
        if len(seen) > 1:
            (one, _), (other, line) = list(seen.items())[:2]
            raise TaskError(
                f"{line}, field {field!r}: expected {one!r} as in the records before, got "
                f"{other!r}. A task has one for all its records. Split the file."
            )
    found = {field: next(iter(seen), None) for field, seen in declared.items()}
    return _Batch(items, layout, **found, defects=defects)  # type: ignore[arg-type]


_DECLARED: dict[str, tuple[str, ...]] = {
    "match": MATCHES,
    "measures": MEASURES,
    "format": FORMATS,
    "frame": FRAMES,
}
"""What a record of the plain layout may say of its whole task, and the values it may have."""


def _declared(record: Record, field: str) -> str | None:
    value = record.value.get(field)
    if value in (None, ""):
        return None
    for known in _DECLARED[field]:
        if known == value:
            return known
    raise TaskError(
        f"field {field!r}: expected one of {', '.join(_DECLARED[field])}, got {show(value)}. It "
        "may be misspelt. Choose one of these, or leave the field out."
    )


def _judge_defects(where: str, batch: _Batch) -> None:
    n_records = len(batch.items) + len(batch.defects)
    if not batch.defects:
        return
    if not batch.items or len(batch.defects) > max(1, TOLERATED * n_records):
        raise TaskError(
            f"{batch.defects[0]} {len(batch.defects)} of {n_records} records are so: too many to "
            "leave out."
        )
    logger.warning(
        "%s: left out %d of %d records with a known defect; the first: %s",
        where,
        len(batch.defects),
        n_records,
        batch.defects[0],
    )
