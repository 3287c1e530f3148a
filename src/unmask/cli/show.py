"""A result as text in a terminal. Model text never appears here."""

from rich.console import Console
from rich.table import Table

from unmask.api import AuditResult
from unmask.arms.evidence import Evidence


def print_audit(result: AuditResult, console: Console) -> None:
    """Print the verdict, the baseline, the arms and where the report is."""
    console.print(result.verdict, style="bold")
    console.print(result.sentence, soft_wrap=True)
    if (base := result.baseline) is not None:
        console.print(
            f"unedited score {base.score:.3f} [{base.interval[0]:.3f}, {base.interval[1]:.3f}] on "
            f"{base.n_items} items; chance {base.chance:.3f}; parse failures "
            f"{base.parse_failure_rate:.1%}",
            soft_wrap=True,
        )
        if base.by_rule:
            by_rule = ", ".join(f"{score:.3f} {rule}" for rule, score in base.by_rule.items())
            console.print(f"options ranked as texts: {by_rule}", soft_wrap=True)
    console.print(_arms(result.evidence))
    for one in result.evidence:
        if not one.tested:
            console.print(f"{one.arm}: not run; {one.reason}", soft_wrap=True)
    for line in (*result.left_out, *result.warnings):
        console.print(f"note: {line}", soft_wrap=True)
    console.print(f"run     {result.run}", soft_wrap=True)
    console.print(f"report  {result.report}", soft_wrap=True)


def _arms(evidence: tuple[Evidence, ...]) -> Table:
    """Lay out what was tested, within 80 columns; settings and damage stand in the report."""
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "gain", "95 % interval", "Holm p", "s", "reading"):
        justify = "left" if name in {"arm", "reading"} else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for one in evidence:
        if one.tested:
            interval = one.interval or (None, None)
            table.add_row(
                one.arm,
                _signed(one.gain),
                " ".join(map(_signed, interval)).strip(),
                f"{one.p_holm:.2g}",
                _number(one.seconds, 0),
                one.reading,
            )
    return table


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
