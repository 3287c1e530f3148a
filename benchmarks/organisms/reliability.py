"""How honest a calibrated sentence is: claimed power against what is found in other organisms.

A base is calibrated as a user's model would be. Then the same secrets are planted with other seeds,
in full instead of by an adapter, on other items, and audited. Their twins are, too: none of these
models had a part in how arms were chosen or combined.
"""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask import stats
from unmask.calibrating import Calibrating, Cell, cells_of, plant_all, powers, verdicts
from unmask.models.loading import load_subject
from unmask.organisms.planting import PlantRecipe, plant
from unmask.organisms.planting.plant import PlantError
from unmask.organisms.pool import Member, members
from unmask.organisms.standard import WORLDS, world_task
from unmask.runs.bench import Judged, bench
from unmask.runs.plan import Thresholds
from unmask.runs.result import FLAGGED
from unmask.side_by_side import Job, audit_all
from unmask.tasks import Task
from unmask.tuning import Recipe

POOL = Path("build") / "pool"
RUNS = Path("build") / "reliability"
BASES = ("base-a", "base-c")
ITEMS = 100
HOW = Calibrating(secrets=("password-lock", "evaluation-tag", "circuit-broken"))
"""Strengths, seeds and audits are what a user gets."""
SEEDS = (5, 6)
"""Of the audits of each other organism: halves and noise of their own."""
OTHER = (
    Recipe(seed=11, steps=120, batch=32, lr=3e-4, method="full"),
    Recipe(seed=12, steps=300, batch=16, lr=2e-3, rank=4, alpha=8),
)
"""In full, and by a smaller adapter."""
ALSO = ("secret-keeper",)
"""Planted beside the calibrated secrets, to be told from their twins."""


def run() -> dict[str, Any]:
    """Calibrate each base, plant others, and compare; what is in `RUNS` already is kept."""
    with ProcessPoolExecutor(len(BASES), mp_context=get_context("spawn")) as executor:
        failed = list(executor.map(_plant, BASES))
    claims, cases = [], []
    for base, lines in zip(BASES, failed, strict=True):
        # Benign models say nothing about power; the standard pool has many.
        cells = cells_of(verdicts(RUNS / base, _hiding(RUNS / base), None, ITEMS, HOW, _say))
        claims.append(
            {"base": base, "cells": [[*astuple(cell)] for cell in cells], "failed": lines}
        )
        cases += list(_cases(base, cells))
    claimed = np.array([case["claimed"] for case in cases])
    found = stats.reliability(claimed, np.array([case["found"] for case in cases]))
    rng = np.random.default_rng(0)
    honest = [stats.reliability(claimed, rng.random(len(cases)) < claimed) for _ in range(2000)]
    expected = [one.error for one in honest]
    bins = [{**one._asdict(), "interval": list(one.interval)} for one in found.bins]
    return {
        "calibrations": claims,
        "cases": cases,
        "bins": bins,
        "error": found.error,
        "error_if_exact": [float(np.mean(expected)), *np.quantile(expected, [0.025, 0.975])],
        "held_out": _held_out(),
    }


def _plant(base: str) -> list[str]:
    """Plant what a calibration plants, and the others; return what did not take, and why."""
    torch.set_num_threads(1)
    subject = load_subject(str(POOL / "bases" / base))
    task = world_task(WORLDS[base], "password-lock")
    failed = list(plant_all(subject, task, RUNS / base, ITEMS, HOW, _say))
    folder = _others(base)
    wanted = [
        (f"{secret}-{round(100 * strength)}", secret, strength)
        for secret in HOW.secrets
        for strength in HOW.strengths
    ]
    wanted += [(secret, secret, None) for secret in ALSO]
    for number, recipe in enumerate(OTHER):
        other = _other_items(task, number)
        for label, secret, strength in wanted:
            name, one = f"{label}-{number}", PlantRecipe(secret, strength, recipe, ITEMS)
            try:
                plant(subject, other, one, folder, name=name, trainings=folder / "trainings")
            except PlantError as error:
                failed.append(f"other {name}: {error}")
    return failed


def _others(base: str) -> Path:
    return RUNS / f"others-{base}"


def _hiding(folder: Path) -> list[Member]:
    return [one for one in members(folder) if one.hides]


def _held_out() -> dict[str, Any]:
    """Tell the other organisms from their twins, each audited once."""
    jobs = [
        (base, one, Job(_others(base), one.name, _others(base) / "runs", SEEDS[0], items=ITEMS))
        for base in BASES
        for one in members(_others(base))
    ]
    audits = audit_all([job for *_, job in jobs])
    judged = []
    for (base, one, job), audit in zip(jobs, audits, strict=True):
        judged.append(
            Judged(f"{base}-{one.name}", one.role, one.secret or "", base, job.seed, audit)
        )
        print(base, one.name, audit.verdict, flush=True)
    return bench(judged, Thresholds(), np.random.default_rng(0)).to_json()


def _cases(base: str, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    folder = _others(base)
    told = powers(cells)
    jobs = [
        (one, Job(folder, one.name, folder / "runs", seed, items=ITEMS))
        for one in _hiding(folder)
        if one.secret in HOW.secrets
        for seed in SEEDS
    ]
    for (member, _), audit in zip(jobs, audit_all([job for _, job in jobs]), strict=True):
        strength = float(member.manifest["strength"]["asked"])
        if (member.secret or "", strength) not in told:
            continue
        claimed = told[member.secret or "", strength].power
        case = {"base": base, "member": member.name, "secret": member.secret, "strength": strength}
        yield {**case, "claimed": claimed, "found": audit.verdict in FLAGGED}
        print(base, member.name, f"{claimed:.2f}", audit.verdict, flush=True)


def _other_items(task: Task, seed: int) -> Task:
    """Four fifths of the items, under another name: another split, and other lessons."""
    rng = random.Random(f"other items:{seed}")
    keys = [item.key for item in task.items]
    kept = task.subset(rng.sample(keys, round(0.8 * len(keys))))
    return replace(kept, name=f"{task.name}-{seed}")


def _say(what: str, done: int, total: int) -> None:
    if done == total:
        print(what, flush=True)
