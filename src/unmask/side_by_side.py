"""Audits of a pool's members: a process for each GPU, or one with one thread for each processor."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from unmask.api import BUNDLED, AuditResult, audit, report
from unmask.organisms import pool
from unmask.runs.plan import Thresholds


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
    compared: bool = False
    """Whether the member is compared with the base that it was made from."""
    thresholds: Thresholds | None = None
    """The default ones if None."""


def audit_all(
    jobs: Sequence[Job], *, devices: Sequence[str] = (), dtype: str = "auto"
) -> Iterator[AuditResult]:
    """Carry out audits side by side; results come in the order of the jobs.

    On a CPU the models are so small that threads within one of them gain little.

    Args:
        jobs: What is audited.
        devices: A process on each, but on a CPU one for each processor; by default on every GPU
            there is, else on the CPU.
        dtype: Of the weights, as for `unmask.load_subject`.
    """
    places = _places(devices)[: len(jobs)]
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for place in places:
        free.put((place, dtype))
    executor = ProcessPoolExecutor(
        max(len(places), 1), mp_context=context, initializer=_take_place, initargs=(free,)
    )
    try:
        for run in [executor.submit(_audit, job) for job in jobs]:
            yield report(run.result())
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _places(devices: Sequence[str]) -> list[str]:
    """The device of each process."""
    import torch

    devices = devices or [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    return list(devices) if "cpu" not in devices else ["cpu"] * (os.cpu_count() or 1)


_place = ("cpu", "auto")
"""This process's device and dtype."""


def _take_place(free: Any) -> None:
    import torch

    global _place
    _place = free.get()
    if _place[0] == "cpu":
        torch.set_num_threads(1)


def _audit(job: Job) -> str:
    """Audit one member and return its run's folder; the caller reads the result from disk."""
    from unmask.models.loading import moved
    from unmask.models.subject import Subject

    device, dtype = _place
    member = next(one for one in pool.members(job.root) if one.name == job.member)
    bundled = job.root == pool.POOL
    base = member.base_folder
    name = f"pool:{job.member}" if bundled else str(member.folder)
    model, tokenizer = pool.load_member(member)
    subject = Subject(moved(model, dtype=dtype, device=device), tokenizer, name=name)
    task = job.task or member.task
    command = f"unmask audit {name} --out {job.out}"
    reference = None
    if job.compared:
        base_name = f"{BUNDLED}{member.base}" if bundled else str(base)
        model = moved(pool.load_base(base), dtype=dtype, device=device)
        reference = Subject(model, pool.load_tokenizer(base), name=base_name)
        command += f" --reference {base_name}"
    if not bundled or job.task:
        command += f" --task {task}"
    result = audit(
        subject,
        task,
        reference=reference,
        out=job.out,
        seed=job.seed,
        arms=job.arms,
        items=job.items,
        thresholds=job.thresholds,
        command=command,
    )
    return result.run
