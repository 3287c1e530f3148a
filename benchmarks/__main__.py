"""`make bench`: run every benchmark, write its results, the table in the docs, and the figure.

``python -m benchmarks PART ...`` runs some parts only: scoring, generation, steering, overhead,
peers, growth; their rows replace those of the last results. ``--rounds N`` sets how often.
"""

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import flops, generation, growth, overhead, steering
from benchmarks.compare import Row, compare
from benchmarks.model import llama
from benchmarks.peers import NAMES, table
from benchmarks.workloads import Scoring
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "engine.json"
FIGURE = HERE.parent / "docs" / "engine-growth.svg"
PAGE = HERE.parent / "docs" / "engine.md"
PARTS = ("overhead", "scoring", "generation", "steering", "growth", "peers")
_MARKS = ("<!-- results -->", "<!-- end of results -->")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(NAMES))
    options = parser.parse_args()
    parts = options.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(unknown)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}}
    results["machine"] = machine()
    model = llama()
    engine = Engine(checked(Decoder(model)))
    for part in parts:
        results["parts"][part] = _run(part, engine, options)
        results["rows"] = [row for name in PARTS for row in _rows(results["parts"].get(name))]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    _write_page(results)


def _run(part: str, engine: Engine, options: Any) -> dict[str, Any]:
    model: Any = engine.decoder.model
    if part == "growth":
        curves = growth.run(options.rounds)
        growth.draw(curves, FIGURE)
        fit = growth.linear_in_k(curves["K"])
        print(f"growth: {fit}")
        return {"curves": curves, "fit_against_K": fit}
    if part == "scoring":
        return _scoring(engine, options.rounds)
    counts: list[flops.Count] = []
    if part == "peers":
        works = [
            Scoring(engine, model, 256, block, positions)
            for positions in ("last", "all")
            for block in (6, 10)
        ]
        rows = table.run(works, tuple(options.peers.split(",")), max(2, options.rounds // 2))
    elif part == "generation":
        rows, counts = generation.run(engine, model, options.rounds)
    elif part == "steering":
        rows, counts = steering.run(options.rounds)
    else:
        rows = overhead.run(engine, model, options.rounds)
    return {"rows": _printed(rows), "counts": counts}


def _scoring(engine: Engine, rounds: int) -> dict[str, Any]:
    """Time the workloads of the engine's targets, and count their FLOPs and memory."""
    model: Any = engine.decoder.model
    loop, batch = "a loop of full forwards, with hooks", "one batch of full forwards, with hooks"
    targets = {("last", 2): 20.0, ("last", 6): 40.0, ("last", 10): 100.0}
    targets |= {("all", 6): 2.0, ("all", 10): 5.0}
    rows: list[Row] = []
    counts = []
    works = [Scoring(engine, model, 256, block, where) for where, block in targets]
    works.append(Scoring(engine, model, 1024, 6, "answer", n_suffix=8))
    for work in works:
        work.check()
        long = work.positions == "answer"
        target = 200.0 if long else targets[work.positions, work.block]
        after = work.from_prepared()
        peers = {batch: (work.batched, target if work.positions != "last" else None)}
        if work.positions == "last":
            peers[loop] = (work.looped, target)
        n = 2 if long else rounds
        rows += compare(f"{work.name}; edited passes", after, peers, n)
        whole = {peer: (call, None) for peer, (call, _) in peers.items()}
        rows += compare(f"{work.name}; unedited pass, too", work.whole, whole, n)
        for name, call, with_unedited in (
            ("edited passes", after, False),
            ("unedited pass, too", work.whole, True),
        ):
            necessary = flops.necessary(work, with_unedited)
            counts.append(flops.count(f"{work.name}; {name}", call, necessary, work.batched))
    return {"rows": _printed(rows), "counts": counts}


def _printed(rows: list[Row]) -> list[dict[str, Any]]:
    for row in rows:
        print(row)
    return [asdict(row) for row in rows]


def _rows(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    return part.get("rows", []) if part else []


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _write_page(results: dict[str, Any]) -> None:
    """Put the tables into the page in the docs, between its marks."""
    lines = [
        "| workload | peer | times as fast | lowest to highest | asked for |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        overhead_row = row["target"] == 1.03
        asked = "" if row["target"] is None else f"{row['target']:g}"
        asked = f"at most {asked}" if overhead_row else asked
        asked += " (missed)" if row["met"] is False else ""
        lines.append(
            f"| {row['workload']} | {row['peer']} | {row['ratio_median']:.2f} | "
            f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f} | {asked} |"
        )
    counts = [one for part in PARTS for one in results["parts"].get(part, {}).get("counts", [])]
    lines += [
        "",
        "| workload | GFLOPs necessary | executed over necessary | peak MiB | of the batch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in counts:
        lines.append(
            f"| {one['workload']} | {one['gflops_necessary']:.2f} | "
            f"{one['flops_over_necessary']:.3f} | {one['peak_mib']:.1f} | "
            f"{one['peak_mib_batched']:.1f} |"
        )
    if fit := results["parts"].get("growth", {}).get("fit_against_K"):
        lines += [
            "",
            f"Against the number of edits K, 1 to {growth.K[-1]}: {fit['shared']:.3f} s and "
            f"{fit['each'] * 1e3:.2f} ms an edit; the largest error of that line is "
            f"{fit['largest_error']:.0%}.",
            "",
            f"![time against edits, tokens and blocks]({FIGURE.name})",
        ]
    machine = results["machine"]
    lines += [
        "",
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"transformers {machine['transformers']}.",
    ]
    text = PAGE.read_text()
    start, end = (text.index(mark) for mark in _MARKS)
    body = "\n".join(lines)
    PAGE.write_text(f"{text[: start + len(_MARKS[0])]}\n{body}\n{text[end:]}")


if __name__ == "__main__":
    main()
