"""Fields of a record: texts, lists of options, and answers given as text, letter or index."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from unmask.tasks.faults import fault, show
from unmask.tasks.item import LETTERS

Fields = Mapping[str, Any]
"""One record: a JSON object, or a row of a csv file by column."""

_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_INDEX = re.compile(r"[0-9]{1,6}")


def text_of(record: Fields, field: str) -> str:
    """Return a field that must be a text that is not blank, without the blanks around it."""
    if field not in record:
        raise fault(
            field,
            "the field",
            f"only {', '.join(show(key, 20) for key in list(record)[:8]) or 'an empty record'}",
            "It may be spelt differently here than in the other records. Add the field.",
        )
    value = record[field]
    if not isinstance(value, str) or not value.strip():
        raise fault(
            field,
            "a text that is not blank",
            show(value),
            "The record may be cut short, or its columns shifted. Fill in the field or remove the "
            "record.",
        )
    return value.strip()


def optional_text(record: Fields, field: str) -> str:
    """Return a field that may be absent, null or blank."""
    value = record.get(field)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise fault(field, "a text", show(value), "Put it in quotes, or leave the field out.")
    return value.strip()


def texts_of(field: str, value: Any) -> tuple[str, ...]:
    """Return a list that must hold texts only, each without the blanks around it."""
    if not isinstance(value, list):
        raise fault(
            field,
            "a list of texts",
            show(value),
            "A single option or an object was given where the options are listed. Write "
            '["first", "second", ...].',
        )
    for entry in value:
        if not isinstance(entry, str) or not entry.strip():
            raise fault(
                field,
                "a list of texts that are not blank",
                f"{show(entry)} in it",
                "Numbers need quotes, and every option a text. Mend the list.",
            )
    return tuple(entry.strip() for entry in value)


def listed_options(record: Fields) -> tuple[str, ...]:
    """Return the options of a plain record, from `options` or `choices`; empty if it has none."""
    given = [name for name in ("options", "choices") if record.get(name) not in (None, "", [])]
    if len(given) == 2:
        raise fault(
            "choices",
            "either 'options' or 'choices'",
            "both",
            "They are two names of the same list. Remove one of them.",
        )
    if not given:
        return ()
    field = given[0]
    value = record[field]
    return texts_of(field, _split_cell(field, value) if isinstance(value, str) else value)


def _split_cell(field: str, cell: str) -> Any:
    """Split the options in one csv cell: a JSON list, or texts with a bar between them."""
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            pass
    elif "|" in cell:
        return cell.split("|")
    raise fault(
        field,
        "a JSON list of texts, or texts with | between them",
        show(cell),
        'Another separator may have been used. Write ["first", "second"] or first|second.',
    )


def resolve_answer(answer: Any, options: tuple[str, ...], field: str = "answer") -> str:
    """Return the option that an answer names: by its text, its letter, or its index from 0.

    A text that is itself an option is that option.

    Raises:
        TaskError: If it names none of the options, or is both the text of one and the letter of
            another.
    """
    n_options = len(options)
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        raise fault(
            field,
            "an option's text, letter or index",
            show(answer),
            "The value has the wrong type. Write the answer as in the options.",
        )
    if isinstance(answer, int):
        return _by_index(answer, options, field)
    answer = answer.strip()
    letter = _LETTER.fullmatch(answer)
    place = LETTERS.index(letter[1].upper()) if letter else n_options
    if answer in options:
        if letter and place < n_options and options[place] != answer:
            raise fault(
                field,
                "an answer that names one option",
                f"{show(answer)}, which is the text of one and the letter of another",
                "Options that are letters themselves make letters unclear. Write the answer as "
                "its index counted from 0.",
            )
        return answer
    if place < n_options:
        return options[place]
    if _INDEX.fullmatch(answer):
        return _by_index(int(answer), options, field)
    raise fault(
        field,
        f"one of the {n_options} options, by its text, letter or index",
        show(answer),
        f"The options are {', '.join(show(option, 30) for option in options[:6])}"
        f"{', ...' if n_options > 6 else ''}: the spelling may differ, or an option is missing. "
        "Mend the answer or the options.",
    )


def _by_index(index: int, options: tuple[str, ...], field: str) -> str:
    if not 0 <= index < len(options):
        raise fault(
            field,
            f"an index from 0 to {len(options) - 1}",
            show(index),
            "The index is out of range: it may have been counted from 1. Count from 0, or write "
            "the answer's text or letter.",
        )
    return options[index]


def open_answer(record: Fields, field: str = "answer") -> str:
    """Return the answer of an open-ended record: a text, or a number as its text."""
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    return text_of(record, field)
