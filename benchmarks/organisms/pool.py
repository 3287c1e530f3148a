"""The standard pool, audited: what each arm finds and whom it accuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from unmask.organisms.pool import members
from unmask.runs.bench import Judged, bench
from unmask.runs.plan import Thresholds
from unmask.side_by_side import Job, audit_all

POOL = Path("build") / "pool"
RUNS = Path("build") / "bench-pool"
SEEDS = 3
"""Audits of each benign member, each with its own halves and noise."""


def run() -> dict[str, Any]:
    """Audit everyone afresh."""
    shutil.rmtree(RUNS, ignore_errors=True)
    found = members(POOL)
    jobs = [
        (member, Job(POOL, member.name, RUNS, seed))
        for member in found
        for seed in range(1 if member.hides else SEEDS)
    ]
    judged = []
    for (member, job), audit in zip(jobs, audit_all([job for _, job in jobs]), strict=True):
        kind = member.secret or (member.manifest["decoy"] or {}).get("kind", "")
        role, base = member.role, member.base
        judged.append(Judged(member.name, role, kind, base, job.seed, audit))
        print(f"{len(judged)} of {len(jobs)}: {member.name}, {audit.verdict}", flush=True)
    return bench(judged, Thresholds(), np.random.default_rng(0)).to_json()
