"""`make bench-wirework`: writes results and the tables of docs/wirework.md.

``python -m benchmarks.wirework PART ...`` runs some parts only.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.wirework import paths, quality, tables, times, tinystories

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "wirework.json"
PAGE = HERE.parent / "docs" / "wirework.md"
PARTS: dict[str, Callable[[], Any]] = {
    "contraction": times.contraction,
    "times": times.run,
    "paths": paths.run,
    "quality": quality.run,
    "tinystories": tinystories.run,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wirework", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    if "tinystories" in parts and not tinystories.MODEL.is_dir():
        print(f"tinystories: left out, there is no {tinystories.MODEL}")
        parts.remove("tinystories")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(unknown)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}}
    results["machine"] = machine()
    for part in parts:
        began = time.perf_counter()
        results["parts"][part] = PARTS[part]()
        print(f"{part}: {time.perf_counter() - began:.0f} s", flush=True)
        results["rows"] = tables.rows(results["parts"])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for row in results["rows"]:
        print(row)
    tables.write(PAGE, results["parts"])


if __name__ == "__main__":
    main()
