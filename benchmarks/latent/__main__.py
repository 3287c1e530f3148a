"""`make bench-latent`: what searches find in the pool, and how fast; writes results and docs.

``python -m benchmarks.latent PART ...`` runs some parts only: speed, search, worst, manifold,
compare.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.latent import comparison, manifold, searches, speed, tables, worst

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "latent.json"
PAGE = HERE.parent / "docs" / "latent.md"
PARTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "speed": lambda rounds: [asdict(row) for row in speed.run(rounds)],
    "search": lambda _: searches.run(),
    "worst": lambda _: worst.run(),
    "manifold": lambda _: manifold.run(),
    "compare": lambda _: comparison.run(),
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(unknown)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}, "seconds": {}}
    results["machine"] = machine()
    for part in parts:
        began = time.perf_counter()
        results["parts"][part] = PARTS[part](options.rounds)
        results["seconds"][part] = time.perf_counter() - began
        results["rows"] = tables.rows(results["parts"])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{part}: {results['seconds'][part]:.0f} s", flush=True)
    for row in results["rows"]:
        print(row)
    tables.write(PAGE, results)


if __name__ == "__main__":
    main()
