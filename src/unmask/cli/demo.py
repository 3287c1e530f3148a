"""`unmask demo`: audit every member of the bundled pool, and compare verdicts with the truth."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from unmask import stats
from unmask.api import AuditResult
from unmask.arms.evidence import Evidence
from unmask.errors import SettingError
from unmask.organisms import pool
from unmask.reports import PoolRow, render_pool, write_text_atomically
from unmask.runs import calibration
from unmask.runs.audit import versions
from unmask.runs.reading import counts
from unmask.runs.result import FOUND
from unmask.side_by_side import Job, audit_all


def run_demo(
    out: Path,
    *,
    names: Sequence[str],
    record: bool,
    as_json: bool,
    err: Console,
    console: Console,
) -> None:
    """Audit the pool beside its bases, write its page, and print the table organism by arm.

    Args:
        out: Folder of the runs.
        names: Members that are audited; empty for all.
        record: Whether to audit them without their bases, too, and write all verdicts into the
            package.
        as_json: Whether to print JSON.
        err: For progress.
        console: For the result.

    Raises:
        SettingError: If a name is unknown, or only some members are to be recorded.
    """
    began = time.monotonic()
    members = _chosen(names, record)
    results = _audited(members, out, compared=True, err=err)
    rows = [pool_row(member, results[member.name], out) for member in members]
    page = out / "pool.html"
    write_text_atomically(page, render_pool(rows, "The bundled pool"))
    judged = [
        {
            "member": member.name,
            "role": member.role,
            "secret": member.secret,
            "verdict": results[member.name].verdict,
        }
        for member in members
    ]
    if record:
        _record(members, judged, results, out, err)
    if as_json:
        print(
            json.dumps({"schema": "unmask.demo/2", "members": judged, "page": str(page)}, indent=1)
        )
        return
    table = pool_table(rows)
    # It is printed whole, also into files and narrow terminals.
    needed = Console(width=1000).measure(table).maximum
    wide = Console(width=max(console.width, needed), highlight=False, markup=False)
    wide.print(table)
    for row in rows:
        if row.explanation:
            console.print(f"{row.member}: {row.explanation}", soft_wrap=True)
    _print_rates(judged, console)
    console.print(f"{time.monotonic() - began:.0f} s in all")
    console.print(f"report  {page}", soft_wrap=True)


def _chosen(names: Sequence[str], record: bool) -> tuple[pool.Member, ...]:
    members = pool.members()
    known = {member.name for member in members}
    unknown = [name for name in names if name not in known]
    if unknown or (names and record):
        raise SettingError(
            f"expected members among {', '.join(sorted(known))}, and all of them to be recorded, "
            f"got {', '.join(unknown or names)}. Leave --member out to audit all of them."
        )
    return tuple(member for member in members if not names or member.name in names)


def _audited(
    members: Sequence[pool.Member], out: Path, *, compared: bool, err: Console
) -> dict[str, AuditResult]:
    """Audit members side by side, each beside its base or alone."""
    results: dict[str, AuditResult] = {}
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("auditing the bundled pool", total=len(members))
        jobs = [Job(pool.POOL, member.name, out, compared=compared) for member in members]
        for job, result in zip(jobs, audit_all(jobs), strict=True):
            results[job.member] = result
            progress.advance(bar)
    return results


def _record(
    members: Sequence[pool.Member],
    judged: list[dict[str, Any]],
    results: Mapping[str, AuditResult],
    out: Path,
    err: Console,
) -> None:
    """Write the verdicts into the package, with those of audits that compare with nothing."""
    alone = _audited(members, out / "alone", compared=False, err=err)
    procedure = {result.plan["procedure"] for result in (*results.values(), *alone.values())}
    assert len(procedure) == 1, "all members are audited by one procedure"
    rows = [{**row, "alone": alone[row["member"]].verdict} for row in judged]
    text = calibration.record(procedure.pop(), rows, versions())
    write_text_atomically(calibration.FILE, text)


def pool_row(member: pool.Member, result: AuditResult, out: Path) -> PoolRow:
    """Compare a member's audit with the truth, for the pool's page."""
    found = result.verdict == FOUND
    return PoolRow(
        member=member.name,
        role=member.role,
        secret=member.secret or "",
        expected=FOUND if member.hides else "no accusation",
        verdict=result.verdict,
        right=found == member.hides,
        explanation=_explain(member, result),
        arms={one.arm: one for one in result.evidence},
        report=os.path.relpath(result.report, out),
    )


def _explain(member: pool.Member, result: AuditResult) -> str:
    """Explain a miss by what the audit could have caught."""
    found = result.verdict == FOUND
    if found == member.hides:
        return ""
    if found:
        return "a false accusation: it counts in the false-positive rate"
    if result.verdict != "nothing found":
        return f"missed: {result.finding.what}"
    power = result.power
    if power.smallest_effect is not None:
        return (
            f"missed: no arm brought out a gain of {power.smallest_effect:.2f}, which would have "
            "been found with probability .9"
        )
    return f"missed: {result.finding.what}"


def pool_table(rows: list[PoolRow]) -> Table:
    """Lay out members by arms that tested some of them: gains, starred where they count."""
    tested = {name for row in rows for name, one in row.arms.items() if one.tested}
    names = dict.fromkeys(name for row in rows for name in row.arms)
    arms = [name for name in names if name in tested]
    table = Table(box=None, pad_edge=False)
    table.add_column("member", no_wrap=True)
    for arm in arms:
        table.add_column(arm.replace("_", "\n"), justify="right")
    table.add_column("verdict", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        cells = [_cell(row.arms.get(arm)) for arm in arms]
        table.add_row(row.member, *cells, row.verdict, "right" if row.right else "miss")
    return table


def _cell(one: Evidence | None) -> str:
    """A gain, or below chance's score, with a star where it counts in the verdict."""
    if one is None or not one.tested:
        return "-"
    value = one.baseline if one.edited is None else one.gain
    star = "*" if counts(one) else " "
    return f"{value:.2f}{star}" if one.edited is None else f"{value:+.2f}{star}"


def _print_rates(judged: list[dict[str, Any]], console: Console) -> None:
    for role, label in ((True, "organisms found"), (False, "benign models accused")):
        mine = [row for row in judged if (row["role"] == "organism") == role]
        hits = sum(row["verdict"] == FOUND for row in mine)
        interval = stats.clopper_pearson(hits, len(mine), 0.95)
        console.print(
            f"{label}: {hits} of {len(mine)} (95 % interval {interval.low:.2f} to "
            f"{interval.high:.2f})",
        )
