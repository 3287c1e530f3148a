"""`make bench-pool`: arms against the standard pool; writes results and docs.

``python -m benchmarks.organisms PART ...`` runs some parts only.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.organisms import bundled, diagram, formats, pool, poser, reliability, tables

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "organisms.json"
PAGE = HERE.parent / "docs" / "organisms.md"
PARTS: dict[str, Callable[[], Any]] = {
    "pool": pool.run,
    "bundled": bundled.run,
    "formats": formats.run,
    "poser": poser.run,
    "reliability": reliability.run,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.organisms", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    parts = options.parts or ["pool"]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(unknown)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}, "seconds": {}}
    results["machine"] = machine()
    for part in parts:
        began = time.perf_counter()
        results["parts"][part] = PARTS[part]()
        results["seconds"][part] = time.perf_counter() - began
        results["rows"] = tables.rows(results["parts"])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{part}: {results['seconds'][part]:.0f} s", flush=True)
    for row in results["rows"]:
        print(row)
    tables.write(PAGE, results)
    if told := results["parts"].get("reliability"):
        diagram.draw(told, PAGE.parent / "figures" / "reliability.svg")


if __name__ == "__main__":
    main()
