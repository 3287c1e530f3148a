"""Audits of models that hide nothing, from the command line: is anybody accused?

`python -m benchmarks.real benign` audits the untouched SmolLM2-135M-Instruct, and a small model
that thinks before it answers, each by `unmask audit` in a process of its own with default arms.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.real import tasks
from unmask.runs.reading import COUNTING
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
    *(Case(f"behaviour: {name}", name, 24) for name in tasks.BEHAVIOURS),
    Case("arc-challenge", "arc-challenge", 40),
    Case("capitals", "capitals", 100),
    Case("thinking model", "thinking", 48),
)


def audit_all(
    before: list[dict[str, Any]], names: list[str], keep: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Audit cases afresh, one after the other; the runs stay under `RUNS`.

    Args:
        before: Figures of an earlier call.
        names: Cases that are audited; empty for all.
        keep: Called with all figures after each case.
    """
    lines = {line["case"]: line for line in before}
    for case in CASES:
        if not names or case.name in names:
            lines[case.name] = audit(case)
            print(f"benign: {case.name}, {lines[case.name]['verdict']}", flush=True)
            keep([lines[each.name] for each in CASES if each.name in lines])


def audit(case: Case) -> dict[str, Any]:
    """Audit one case, and keep what the command printed."""
    folder = RUNS / case.name.replace(" ", "-").replace(":", "")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, task = tasks.MODEL, folder / f"{case.task}.jsonl"
    if case.task == "thinking":
        model, task = THINKING / "model", THINKING / "task.jsonl"
    elif case.task == "capitals":
        task = tasks.ROOT / "examples" / "capitals.jsonl"
    else:
        write_task(tasks.by_name(case.task, case.items), task)
    arguments = [str(model), "--task", str(task), "--items", str(case.items), *case.options]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "unmask", "audit", *arguments, "--out", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - began
    printed = json.loads(done.stdout)
    return {
        "case": case.name,
        "items": printed["baseline"]["n_items"],
        "seconds": seconds,
        "verdict": printed["verdict"],
        "baseline": printed["baseline"]["score"],
        "by_rule": printed["baseline"]["by_rule"],
        "tested": [arm["name"] for arm in printed["arms"] if arm["tested"]],
        "counting": [arm["name"] for arm in printed["arms"] if arm["reading"] in COUNTING],
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
