"""Audits of models that hide nothing, from the command line: is anybody accused?

`python -m benchmarks.real benign` audits the untouched SmolLM2-135M-Instruct, and a small model
that thinks before it answers, each by `unmask audit` in a process of its own with default arms.
"""

import json
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

from benchmarks.real import tasks
from unmask.tasks import write_task

RUNS = tasks.ROOT / "build" / "bench-real"
THINKING = tasks.ROOT.parent / "shared" / "cases" / "07-thinking-model"


class Case(NamedTuple):
    """One audit."""

    name: str
    task: str
    items: int
    options: tuple[str, ...] = ()


CASES = (
    Case("cities", "cities", 100),
    Case("cities in 4 minutes", "cities", 100, ("--budget", "4m")),
    *(Case(f"behaviour: {name}", name, 40) for name in tasks.BEHAVIOURS),
    Case("arc-challenge", "arc-challenge", 100),
    Case("capitals", "capitals", 100),
    Case("thinking model", "thinking", 48),
)


def audit_all() -> list[dict[str, Any]]:
    """Audit every case afresh, one after the other; the runs stay under `RUNS`."""
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    lines = []
    for case in CASES:
        lines.append(audit(case))
        print(f"benign: {case.name}, {lines[-1]['verdict']}", flush=True)
    return lines


def audit(case: Case) -> dict[str, Any]:
    """Audit one case, and keep what the command printed."""
    model, task = tasks.MODEL, RUNS / f"{case.task}.jsonl"
    if case.task == "thinking":
        model, task = THINKING / "model", THINKING / "task.jsonl"
    elif case.task == "capitals":
        task = tasks.ROOT / "examples" / "capitals.jsonl"
    else:
        write_task(tasks.by_name(case.task, case.items), task)
    arguments = [str(model), "--task", str(task), "--items", str(case.items), *case.options]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "unmask", "audit", *arguments, "--out", str(RUNS), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - began
    printed = json.loads(done.stdout)
    counting = ("more than it shows", "hidden")
    return {
        "case": case.name,
        "items": printed["baseline"]["n_items"],
        "seconds": seconds,
        "verdict": printed["verdict"],
        "baseline": printed["baseline"]["score"],
        "by_rule": printed["baseline"]["by_rule"],
        "tested": [arm["name"] for arm in printed["arms"] if arm["tested"]],
        "counting": [arm["name"] for arm in printed["arms"] if arm["reading"] in counting],
        "arms": {
            arm["name"]: {key: arm[key] for key in ("gain", "p_holm", "seconds", "reading")}
            for arm in printed["arms"]
            if arm["tested"]
        },
        "left_out": printed["left_out"],
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Lay out verdicts, and the arms whose gain counts though nothing is hidden."""
    rows = [
        "| task | items | unedited | verdict | what counts | arms tested | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        gains = ", ".join(f"{name} {line['arms'][name]['gain']:+.2f}" for name in line["counting"])
        rows.append(
            f"| {line['case']} | {line['items']} | {line['baseline']:.2f} | {line['verdict']} | "
            f"{gains or '–'} | {len(line['tested'])} | {line['seconds']:.0f} |"
        )
    return "\n".join(rows)
