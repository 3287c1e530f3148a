"""The audit as one call, for Python and notebooks; the command line calls the same."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from unmask.arms.registry import choose_arms
from unmask.errors import RunError, SettingError, TaskError
from unmask.models.loading import load_subject, moved
from unmask.models.subject import Subject
from unmask.organisms import pool
from unmask.reports import render_audit, render_fragment, write_text_atomically
from unmask.runs.audit import Progress, run_audit
from unmask.runs.plan import Thresholds, make_plan
from unmask.runs.result import Audit
from unmask.runs.store import RunStore
from unmask.tasks import Format, Task, load_task

BUNDLED = "pool:"
"""Prefix of the bundled pool's members, as models and as the tasks they are audited with; and of
their bases, as references."""


class AuditResult(Audit):
    """An audit's result, which a notebook shows as its report."""

    @property
    def report(self) -> Path:
        """The report's HTML file."""
        return Path(self.run) / "report.html"

    def _repr_html_(self) -> str:
        return render_fragment(self)


def audit(
    model: Any,
    task: Task | str | Path | None = None,
    *,
    tokenizer: Any = None,
    reference: Any = None,
    arms: Sequence[str] | None = None,
    budget: float | str | None = None,
    memory: int | str | None = None,
    out: str | Path = "runs",
    items: int | None = 200,
    format: Format | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    calibrate: bool | Any = False,
    command: str = "",
    progress: Progress | None = None,
    wait: bool = True,
    on_wait: Callable[[str], None] | None = None,
    on_calibrate: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> AuditResult:
    """Audit a model on a task, and write the report.

    Args:
        model: A folder, a hub id, ``pool:NAME``, a `Subject`, or a loaded transformers model (then
            with its `tokenizer`).
        task: A file, ``cloze:CORPUS``, ``pool:NAME`` or a `Task`. May be left out for members of
            the bundled pool, which bring their own.
        tokenizer: Of a model passed in memory.
        reference: A model to compare with, in any of the forms of `model`; it shares `tokenizer`
            when passed in memory.
        arms: Names, besides those that are always run (tests of the unedited answers, and
            prompts); by default `unmask.arms.registry` says which, and "all" stands for every arm.
        budget: Seconds, or a text such as "10m"; the plan is cut to fit.
        memory: Bytes, or a text such as "8GiB", that forward passes may take beside the weights;
            by default as they come, in smaller passes once there was too little.
        out: Folder of all runs. The same call continues a run that was interrupted.
        items: Most items used, chosen by content hash; None for all.
        format: How answers are given: letter, listed, text or open; by default as the task says.
        seed: Base of every seed of noise, and of the halves.
        thresholds: What decides the verdict.
        dtype: See `load_subject`, as for `device`, `revision`, `trust_remote_code` and
            `allow_pickle`.
        device: See `load_subject`.
        revision: See `load_subject`.
        trust_remote_code: See `load_subject`.
        allow_pickle: See `load_subject`.
        calibrate: Whether to plant secrets and benign fine-tunes into the subject, and audit them
            too, so that the verdict states its own error rates; a `Calibrating` says how many.
        command: What reproduces the audit, for the report.
        progress: Who is told how far it is.
        wait: Whether to wait for another process that works on the same run.
        on_wait: Told once when that happens.
        on_calibrate: Told what the calibration is doing, and how far it is.

    Returns:
        The result; its `report` is on disk.

    Raises:
        SubjectError: If a model cannot be loaded.
        TaskError: If the task cannot be read.
        SettingError: If an argument is out of range.
        RunError: If the run cannot be opened or written.
    """
    began = time.monotonic()
    seconds = parse_budget(budget) if isinstance(budget, str) else budget
    limit = parse_memory(memory) if isinstance(memory, str) else memory
    if items is not None and items < 4:
        raise SettingError(
            f"expected at least 4 items, two for each half, got {items}. "
            "200 give a power of .9 for a gain of .15."
        )
    chosen = choose_arms(arms)
    asked = read_task(model, task, format)  # read first: a malformed file stops before any loading
    options = {
        "dtype": dtype,
        "device": device,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
    }
    subject = as_subject(model, tokenizer, revision=revision, **options)
    other = None if reference is None else as_subject(reference, tokenizer, **options)
    for one in (subject, other):
        if one is not None and limit is not None:
            one.engine.limit_memory(limit)
    plan = make_plan(
        subject,
        asked,
        chosen,
        reference=other,
        thresholds=thresholds,
        max_items=items,
        seed=seed,
        budget_seconds=seconds,
    )
    result = run_audit(
        plan,
        Path(out),
        command=command,
        progress=progress,
        began=began,
        wait=wait,
        on_wait=on_wait,
    )
    if calibrate:
        from unmask.calibrating import Calibrating
        from unmask.calibrating import calibrate as measure

        calibration = measure(
            subject,
            asked,
            result.plan["procedure"],
            Path(out),
            arms=arms,
            items=items,
            thresholds=thresholds,
            how=calibrate if isinstance(calibrate, Calibrating) else None,
            report=on_calibrate,
        )
        with RunStore.open(Path(result.run), plan.record()) as store:
            store.note("calibration", calibration.to_json())
    return report(result.run)


def report(run: str | Path) -> AuditResult:
    """Write the report of a finished run again, without its model.

    Raises:
        RunError: If the folder holds no finished run.
    """
    with RunStore.read(Path(run)) as store:
        record, measured = store.noted("result"), store.noted("calibration")
    if record is None:
        raise RunError(
            f"expected a finished run in {str(run)!r}, got one without a result. The audit was "
            "interrupted; run the same command again and it continues."
        )
    try:
        result = Audit.from_json(record)
    except ValueError as error:
        raise RunError(f"cannot show the run in {str(run)!r}: {error}") from error
    if measured is not None:
        from unmask.calibrating import Calibration, calibrated

        result = calibrated(result, Calibration.from_json(measured))
    return finish(result, Path(run))


def finish(result: Audit, folder: Path | None = None) -> AuditResult:
    """Write a result's report into its run's folder."""
    values = {field.name: getattr(result, field.name) for field in fields(Audit)}
    if folder is not None:
        values["run"] = str(folder)
    finished = AuditResult(**values)
    write_text_atomically(finished.report, render_audit(finished))
    return finished


def as_subject(model: Any, tokenizer: Any = None, **options: Any) -> Subject:
    """Make a subject of a folder, a hub id, ``pool:NAME``, or a loaded model.

    Raises:
        SubjectError: If it cannot be loaded.
        SettingError: If a loaded model comes without its tokenizer.
    """
    if isinstance(model, Subject):
        return model
    if isinstance(model, str) and model.startswith(BUNDLED):
        loaded, its_tokenizer = _bundled(model)
        place = {name: options[name] for name in ("dtype", "device") if name in options}
        return Subject(moved(loaded, **place), its_tokenizer, name=model)
    if isinstance(model, str | Path):
        return load_subject(model, **options)
    if tokenizer is None:
        raise SettingError(
            f"expected a tokenizer with a model passed in memory ({type(model).__name__}), got "
            "none. Pass tokenizer=AutoTokenizer.from_pretrained(...), or the model's folder."
        )
    return Subject(model, tokenizer)


def _bundled(name: str) -> Any:
    """Load a member of the bundled pool, or one of the bases that they were made from."""
    bases = {member.base: member.base_folder for member in pool.members()}
    if (base := bases.get(name.removeprefix(BUNDLED))) is not None:
        return pool.load_base(base), pool.load_tokenizer(base)
    return pool.load_member(_member(name))


def parse_budget(text: str) -> float:
    """Read a duration such as ``90``, ``90s``, ``10m`` or ``1.5h`` in seconds.

    >>> parse_budget("10m"), parse_budget("90")
    (600.0, 90.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not seconds > 0:
        raise SettingError(
            f"expected a duration such as 90s, 10m or 1.5h, got {text!r}. "
            "Leave --budget out for no limit."
        )
    return seconds


def parse_memory(text: str) -> int:
    """Read an amount of memory such as ``8GiB``, ``8G`` or ``500M`` in bytes; units are binary.

    >>> parse_memory("2GiB"), parse_memory("512M")
    (2147483648, 536870912)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    unit = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2].upper()] if match else 0
    amount = int(float(match[1]) * 2**unit) if match else 0
    if not amount > 0:
        raise SettingError(
            f"expected an amount of memory such as 8GiB or 500M, got {text!r}. "
            "Leave --memory out for no limit."
        )
    return amount


def read_task(model: Any, task: Task | str | Path | None, format: Format | None = None) -> Task:
    """Read a task; members of the bundled pool bring their own.

    Raises:
        TaskError: If there is none, or it cannot be read.
    """
    if isinstance(task, Task):
        return task
    if task is None:
        if not (isinstance(model, str) and model.startswith(BUNDLED)):
            raise TaskError(
                "expected a task, got none. Only members of the bundled pool bring their own; "
                "pass a file of questions, or cloze:CORPUS."
            )
        task = model
    if isinstance(task, str) and task.startswith(BUNDLED):
        task = _member(task).task
    return load_task(task, format=format)


def _member(name: str) -> pool.Member:
    members = {member.name: member for member in pool.members()}
    wanted = name.removeprefix(BUNDLED)
    if wanted not in members:
        raise SettingError(
            f"expected one of the bundled pool's members ({', '.join(members)}), or, as a "
            f"reference, one of their bases, got {wanted!r}. "
            "Check the spelling."
        )
    return members[wanted]
