"""The standard pool, audited: what each arm finds and whom it accuses."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unmask.organisms.pool import Member, members
from unmask.runs.bench import Judged, bench
from unmask.runs.plan import Thresholds
from unmask.side_by_side import Job, audit_all

POOL = Path("build") / "pool"
RUNS = Path("build") / "bench-pool"
SEEDS = 3
"""Audits of each benign member, each with its own halves and noise."""
ITEMS = 100
BASES = "abc"


def run() -> dict[str, Any]:
    """Audit everyone afresh, and make the table."""
    shutil.rmtree(RUNS, ignore_errors=True)
    return judge()


def judge() -> dict[str, Any]:
    """Make the table; audits that are on disk are read instead of carried out."""
    jobs = [(member, job) for member in members(POOL) for job in _jobs(member)]
    judged = []
    for (member, job), audit in zip(jobs, audit_all([job for _, job in jobs]), strict=True):
        kind = member.secret or (member.manifest["decoy"] or {}).get("kind", "")
        role, base = member.role, member.base
        judged.append(Judged(member.name, role, kind, base, job.seed, audit))
        print(f"{len(judged)} of {len(jobs)}: {member.name}, {audit.verdict}", flush=True)
    return bench(judged, Thresholds(), np.random.default_rng(0)).to_json()


def _jobs(member: Member) -> Iterator[Job]:
    """An organism once; a benign member once, and again with other seeds.

    A benign member answers its own task so well that nothing could be gained on it, and would never
    be accused; so where a capability is measured, the repeats ask it what it knows by halves.
    """
    for seed in range(1 if member.hides else SEEDS):
        repeat = seed > 0 and '"capability"' in member.task.read_text()
        task = half_known(member) if repeat else None
        yield Job(POOL, member.name, RUNS, seed, items=ITEMS, task=task)


def half_known(member: Member) -> Path:
    """Write the member's task with every other question from another base's world."""
    other = BASES[(BASES.index(member.task.stem[-1]) + 1) % len(BASES)]
    own = member.task.read_text().splitlines()
    unknown = member.task.with_stem(member.task.stem[:-1] + other).read_text().splitlines()
    path = RUNS / "tasks" / f"{member.task.stem}-half-known.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((*own[::2], *unknown[1::2])) + "\n")
    return path
