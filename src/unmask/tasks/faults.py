"""Messages for malformed tasks: what was expected, what came, the likely cause, the next step."""

from typing import Any

from unmask.errors import TaskError


class KnownDefectError(TaskError):
    """A record of a published data set with a defect of the kind those sets are known to have."""


def show(value: Any, limit: int = 60) -> str:
    """Return a value as it would be typed, cut to `limit` characters, safe to print."""
    # Cut before and after: the repr of a text with many escapes is longer than the text.
    if isinstance(value, str):
        value = value[: limit + 1]
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**limit:
        return f"an integer of more than {limit} digits"
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= limit + 2 else f"{shown[:limit]}..."


def fault(field: str, expected: str, got: str, help: str) -> TaskError:
    """Return the error for one field of a record; the reader adds file and line.

    Args:
        field: Name of the field.
        expected: What should have stood there.
        got: What stood there.
        help: The likely cause and the next step, as sentences.
    """
    return TaskError(_message(field, expected, got, help))


def defect(field: str, expected: str, got: str, help: str) -> KnownDefectError:
    """Return the like of `fault` for a defect that published data sets are known to have."""
    return KnownDefectError(_message(field, expected, got, help))


def _message(field: str, expected: str, got: str, help: str) -> str:
    return f"field {field!r}: expected {expected}, got {got}. {help}"
