"""Audits of a pool's members, one process with one thread for each processor."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from unmask.api import AuditResult, audit, report
from unmask.organisms import pool


class Job(NamedTuple):
    """One audit."""

    root: Path
    """Of the pool."""
    member: str
    out: Path
    seed: int = 0
    arms: tuple[str, ...] | None = None
    items: int | None = 200
    task: Path | None = None
    """The member's own by default."""


def audit_all(jobs: Sequence[Job]) -> Iterator[AuditResult]:
    """Carry out audits side by side; results come in the order of the jobs.

    The models are so small that threads within one of them gain little.
    """
    workers = min(os.cpu_count() or 1, len(jobs))
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        for run in [executor.submit(_audit, job) for job in jobs]:
            yield report(run.result())
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _audit(job: Job) -> str:
    """Audit one member and return its run's folder; the caller reads the result from disk."""
    from unmask.models.subject import Subject

    member = next(one for one in pool.members(job.root) if one.name == job.member)
    bundled = job.root == pool.POOL
    name = f"pool:{job.member}" if bundled else str(member.folder)
    subject = Subject(*pool.load_member(member), name=name)
    task = job.task or member.task
    command = f"unmask audit {name} --out {job.out}"
    if not bundled or job.task:
        command += f" --task {task}"
    result = audit(
        subject,
        task,
        out=job.out,
        seed=job.seed,
        arms=job.arms,
        items=job.items,
        command=command,
    )
    return result.run
