"""Measure on the real chat model, print tables and keep the figures.

``python -m benchmarks.real`` runs everything; ``ranking`` and ``benign`` one part; a case of
``benign`` by its name, as in ``python -m benchmarks.real "behaviour: tide" capitals``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.real import benign, ranking, tasks
from unmask.models.loading import load_subject

RESULTS = Path(__file__).resolve().parents[1] / "results" / "real.json"
DOCS = tasks.ROOT / "docs"


def main() -> None:
    """Run what is named, or all."""
    cases = [case.name for case in benign.CASES]
    named = sys.argv[1:] or ["ranking", "benign"]
    if unknown := set(named) - {"ranking", "benign", *cases}:
        sys.exit(f"expected ranking, benign or its cases {cases}, got {sorted(unknown)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results["machine"] = machine()

    def keep(part: str, figures: Any, table: str, page: str) -> None:
        results[part] = figures
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        write(DOCS / page, part, table)
        print(f"\n{table}\n", flush=True)

    if "ranking" in named:
        figures = ranking.compare(load_subject(tasks.MODEL, dtype="float32"))
        keep("ranking", figures, ranking.table(figures), "scoring.md")
    chosen = cases if "benign" in named else [name for name in cases if name in named]
    if chosen:
        benign.audit_all(
            results.get("benign", []),
            chosen,
            lambda lines: keep("benign", lines, benign.table(lines), "real.md"),
        )


def write(page: Path, name: str, table: str) -> None:
    """Put a table between its marks on a page."""
    text = page.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, after = text.index(start) + len(start), text.index(end)
    page.write_text(f"{text[:before]}\n{table}\n{text[after:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
