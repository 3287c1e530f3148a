"""Writing a report so that a reader never meets half of it."""

import os
from pathlib import Path

from unmask.errors import RunError


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file beside its place and move it there, making the folder if needed.

    Raises:
        RunError: If the file cannot be written; what stood there before is untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write {str(path)!r}: {error.strerror or error}. The disk may be full or the "
            "folder read-only; free some space or choose another folder with --out, and run the "
            "same command again: nothing that was measured is lost."
        ) from error
