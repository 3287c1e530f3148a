"""`unmask bench`: arms against the organisms of a pool."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from unmask.errors import SettingError

if TYPE_CHECKING:
    from unmask.api import AuditResult
    from unmask.organisms.pool import Member
    from unmask.runs.bench import Bench


def bench(
    pool: Annotated[Path, typer.Argument(help="Folder of a pool, as `unmask plant` writes it.")],
    arms: Annotated[
        str | None,
        typer.Option(help="Arms to run, separated by commas, besides those always run."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Audits of each benign member, each with its own halves and noise.")
    ] = 1,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs/bench"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare arms on a pool: gain, detection, AUROC of organisms against benign models, seconds.

    An arm in a package of your own is benched, too: register it as an entry point of the group
    unmask.arms, and name it in --arms.
    """
    from rich.progress import Progress

    from unmask.arms.registry import choose_arms
    from unmask.organisms.pool import members
    from unmask.runs.bench import Judged
    from unmask.runs.bench import bench as judge
    from unmask.runs.plan import Thresholds
    from unmask.side_by_side import Job, audit_all

    if seeds < 1:
        raise SettingError(f"expected --seeds of at least 1, got {seeds}. 1 audits everyone once.")
    names = tuple(name.strip() for name in arms.split(",")) if arms else None
    choose_arms(names)
    found = members(pool)
    if not (any(one.hides for one in found) and any(not one.hides for one in found)):
        raise SettingError(
            f"expected organisms and benign members in {str(pool)!r}, got "
            f"{len(found)} of one kind. `unmask plant` writes both."
        )
    began = time.monotonic()
    jobs = [
        (member, Job(pool, member.name, out, seed, names))
        for member in found
        for seed in range(1 if member.hides else seeds)
    ]
    judged, first = [], {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("auditing the pool", total=len(jobs))
        results = audit_all([job for _, job in jobs])
        for (member, job), result in zip(jobs, results, strict=True):
            judged.append(
                Judged(member.name, member.role, member.secret or "", member.base, job.seed, result)
            )
            first.setdefault(member.name, result)
            progress.advance(bar)
    table = judge(judged, Thresholds(), np.random.default_rng(0))
    page = _write_page(found, first, out, f"The pool {pool.name}")
    if as_json:
        print(json.dumps({**table.to_json(), "page": str(page)}, indent=1))
        return
    console = Console(highlight=False, markup=False)
    Console(width=max(console.width, 140), highlight=False, markup=False).print(_table(table))
    console.print(f"{len(jobs)} audits in {time.monotonic() - began:.0f} s", soft_wrap=True)
    console.print(f"report  {page}", soft_wrap=True)


def _write_page(
    members: Sequence["Member"], results: Mapping[str, "AuditResult"], out: Path, title: str
) -> Path:
    from unmask.cli.demo import pool_row
    from unmask.reports import render_pool, write_text_atomically

    page = out / "pool.html"
    rows = [pool_row(member, results[member.name], out) for member in members]
    write_text_atomically(page, render_pool(rows, title))
    return page


def _table(bench: "Bench") -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "found", "accused", "95 %", "AUROC", "95 %", "s"):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    table.add_column("missed")
    for row in bench.rows:
        interval = "" if row.interval is None else f"{row.interval[0]:.2f}-{row.interval[1]:.2f}"
        low, high = row.accused.interval
        table.add_row(
            row.arm,
            f"{row.found.hits}/{row.found.audits}",
            f"{row.accused.hits}/{row.accused.audits}",
            f"{low:.2f}-{high:.2f}",
            f"{row.auroc:.2f}",
            interval,
            f"{row.seconds:.1f}",
            ", ".join(row.missed),
        )
    return table
