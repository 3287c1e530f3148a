"""A result as text in a terminal. Model text never appears here."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from unmask.api import AuditResult
from unmask.arms.evidence import Evidence


def print_audit(result: AuditResult, console: Console) -> None:
    """Print the verdict, the baseline, the arms and where the report is."""
    console.print(result.verdict, style="bold")
    console.print(result.sentence)
    if (base := result.baseline) is not None:
        console.print(
            f"unedited score {base.score:.3f} [{base.interval[0]:.3f}, {base.interval[1]:.3f}] on "
            f"{base.n_items} items; chance {base.chance:.3f}; parse failures "
            f"{base.parse_failure_rate:.1%}",
        )
        if base.by_rule:
            by_rule = ", ".join(f"{score:.3f} {rule}" for rule, score in base.by_rule.items())
            console.print(f"options ranked as texts: {by_rule}")
    console.print(_arms(result.evidence))
    for line in (*result.left_out, *result.warnings):
        console.print(f"note: {line}")
    console.print(f"run     {result.run}", soft_wrap=True)
    console.print(f"report  {result.report}", soft_wrap=True)


def _arms(evidence: tuple[Evidence, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "gain", "95 % interval", "p", "Holm p", "damage", "s", "setting"):
        table.add_column(name, justify="left" if name in {"arm", "setting"} else "right")
    for one in evidence:
        if not one.tested:
            table.add_row(one.arm, "", "", "", "", "", _number(one.seconds, 1), one.reason)
            continue
        interval = "" if one.interval is None else f"{one.interval[0]:+.3f} {one.interval[1]:+.3f}"
        table.add_row(
            one.arm,
            "" if one.gain is None else f"{one.gain:+.3f}",
            interval,
            f"{one.p:.2g}",
            f"{one.p_holm:.2g}",
            _number(one.damage_nats, 2),
            _number(one.seconds, 1),
            f"{_setting(one.setting)}{'  ' if one.setting else ''}{one.reading}",
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _setting(setting: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (setting or {}).items())[:48]
