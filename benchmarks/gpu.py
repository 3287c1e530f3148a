"""`python -m benchmarks.gpu`: the engine on a GPU against transformers with plain hooks.

The model has 1.1 billion parameters and random weights. That ours and theirs give the same numbers
is checked in float32; what is timed is bfloat16. `--layers` and `--device` make a trial on a CPU.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

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
        Scoring(engine, model, 1024, middle, "last", n_edits=256),
        Scoring(engine, model, 1024, middle, "answer", n_suffix=8),
        Scoring(engine, model, 1024, middle, "all"),
    ]
    for work in works:
        work.check()
    print("float32: the same numbers as the model's own passes with hooks", flush=True)
    model.bfloat16()
    engine = Engine(checked(Decoder(model)))
    rows = overhead.run(engine, model, options.rounds)
    for work in works:
        work.engine = engine
        rows += _timed(work, options.rounds)
    for row in rows:
        print(row)
    described = machine() | {"device": _device(options.device)}
    options.out.write_text(
        json.dumps({"machine": described, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
    )


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
