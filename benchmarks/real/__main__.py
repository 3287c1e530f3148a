"""Run the parts that are named, or all: `python -m benchmarks.real [ranking] [benign]`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.real import benign, ranking, tasks
from unmask.models.loading import load_subject

RESULTS = Path(__file__).resolve().parents[1] / "results" / "real.json"
DOCS = tasks.ROOT / "docs"
PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], str], Path]] = {
    "ranking": (
        lambda: ranking.compare(load_subject(tasks.MODEL, dtype="float32")),
        ranking.table,
        DOCS / "scoring.md",
    ),
    "benign": (benign.audit_all, benign.table, DOCS / "real.md"),
}
"""What is measured, how it is laid out, and the page whose table it is."""


def main() -> None:
    """Measure, print tables, and keep the figures of the parts that were run."""
    parts = sys.argv[1:] or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results["machine"] = machine()
    for name in parts:
        measure, table, page = PARTS[name]
        results[name] = measure()
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        text = table(results[name])
        write(page, name, text)
        print(f"\n{text}\n", flush=True)


def write(page: Path, name: str, table: str) -> None:
    """Put a table between its marks on a page."""
    text = page.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, after = text.index(start) + len(start), text.index(end)
    page.write_text(f"{text[:before]}\n{table}\n{text[after:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
