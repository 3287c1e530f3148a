"""`python -m benchmarks.gpu`: the engine on a GPU against transformers with plain hooks.

The model has 1.1 billion parameters and random weights. That ours and theirs give the same numbers
is checked in float32; what is timed is bfloat16. `--layers` and `--device` make a trial on a CPU.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import overhead
from benchmarks.__main__ import machine
from benchmarks.compare import Row, compare
from benchmarks.model import llama
from benchmarks.workloads import Scoring
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PAGE = Path(__file__).parents[1] / "docs" / "engine.md"
MARKS = ("<!-- gpu -->", "<!-- end of gpu -->")
D_MODEL = 2048
BATCH, LOOP = "one batch of full forwards, with hooks", "a loop of full forwards, with hooks"


def main() -> None:
    """Check, time, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with torch.device(options.device):
        model = llama(options.layers, D_MODEL)
    engine = Engine(checked(Decoder(model)))
    middle = options.layers // 2
    works = [
        Scoring(engine, model, 1024, middle, "last"),
        Scoring(engine, model, 1024, middle, "last", n_edits=128),
        Scoring(engine, model, 1024, middle, "answer", n_suffix=8),
        Scoring(engine, model, 1024, middle, "all"),
    ]
    for work in works:
        work.check()
    print("float32: the same numbers as the model's own passes with hooks", flush=True)
    model.bfloat16()
    engine = Engine(checked(Decoder(model)))
    rows = overhead.run(engine, model, 5 * options.rounds)  # each is short
    for work in works:
        work.engine = engine
        rows += _timed(work, options.rounds)
    for row in rows:
        print(row)
    described = machine() | {"device": _device(options.device)}
    results = {"machine": described, "rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    if options.out == RESULTS:
        write_page(results)


def write_page(results: dict[str, Any]) -> None:
    """Put the table into the page in the docs, between its marks."""
    lines = ["| workload | peer | times as fast | lowest to highest |", "| --- | --- | --- | --- |"]
    for one in results["rows"]:
        figures = f"{one['ratio_median']:.2f} | {one['ratio_min']:.2f} to {one['ratio_max']:.2f}"
        lines.append(f"| {one['workload']} | {one['peer']} | {figures} |")
    on = results["machine"]
    lines += ["", f"{on['device']}, torch {on['torch']}, transformers {on['transformers']}."]
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text("\n".join([before + MARKS[0], *lines, MARKS[1] + after]))


def _timed(work: Scoring, rounds: int) -> list[Row]:
    peers = {BATCH: (work.batched, None), LOOP: (work.looped, None)}
    if work.n_edits > 32:
        del peers[LOOP]
    return [
        *compare(f"{work.name}; edited passes", work.from_prepared(), peers, rounds),
        *compare(f"{work.name}; unedited pass, too", work.whole, peers, rounds),
    ]


def _device(name: str) -> str:
    return torch.cuda.get_device_name() if name.startswith("cuda") else name


if __name__ == "__main__":
    main()
