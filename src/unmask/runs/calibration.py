"""The measured error rates of a procedure: its verdicts on the bundled pool.

`unmask demo --record` writes the file, from audits of organisms whose secret is known and of benign
models. It holds for audits by the same procedure (arms, seeds, thresholds) and for no other.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from unmask import stats
from unmask.organisms import pool
from unmask.runs.result import FLAGGED, FOUND, FalsePositiveRate

FILE = pool.POOL / "calibration.json"


def record(procedure: str, rows: list[dict[str, Any]], versions: Mapping[str, str]) -> str:
    """Write the calibration as JSON text.

    Args:
        procedure: Digest of arms, seeds and thresholds.
        rows: One per audited member: `member`, `role`, `secret`, `verdict` compared with its base,
            and `alone`, the verdict without anything to compare with.
        versions: Of the packages that were used.
    """
    content = {"procedure": procedure, "versions": dict(versions), "members": rows}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def false_positive_rate(
    procedure: str,
    alpha: float,
    *,
    compared: bool,
    missing: Sequence[str] = (),
    file: Path = FILE,
) -> tuple[FalsePositiveRate, dict[str, tuple[int, int]]]:
    """Look up how often the procedure accused the benign models of the pool.

    Args:
        procedure: Digest of the audit's arms, seeds and thresholds.
        alpha: Its nominal level.
        compared: Whether the audit compares with a reference, as the recorded ones do with the
            members' bases; else how often "more than it shows" was said of them is looked up.
        missing: Arms that apply to the audit's task and did not run; no rate holds without them.
        file: The recorded verdicts.

    Returns:
        The rate, and for each kind of secret (organisms found, organisms audited).
    """
    rows, why = _rows(procedure, missing, file)
    counts: Literal["accused", "flagged"] = "accused" if compared else "flagged"
    if not rows:
        return FalsePositiveRate(alpha, None, None, 0, why, counts), {}
    field, said = ("verdict", (FOUND,)) if compared else ("alone", FLAGGED)
    benign = [row for row in rows if row["role"] != "organism"]
    accused = sum(row[field] in said for row in benign)
    interval = stats.clopper_pearson(accused, len(benign), 0.95)
    by_secret: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["role"] == "organism":
            found, audited = by_secret.get(row["secret"], (0, 0))
            found += row[field] in said
            by_secret[row["secret"]] = (found, audited + 1)
    rate = FalsePositiveRate(
        nominal=alpha,
        rate=accused / len(benign),
        interval=(float(interval.low), float(interval.high)),
        n_models=len(benign),
        source="benign models of the bundled pool (half a million parameters each), audited by "
        f"the same procedure {'beside their bases' if compared else 'without a reference'}",
        counts=counts,
    )
    return rate, by_secret


def _rows(procedure: str, missing: Sequence[str], file: Path) -> tuple[list[dict[str, Any]], str]:
    if not file.is_file():
        return [], "not measured: the bundled pool has no calibration file"
    if missing:
        return [], (
            f"not measured for this audit, in which {', '.join(missing)} did not run, or not "
            "whole; it is measured for the whole procedure only"
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    if content["procedure"] != procedure:
        return [], (
            "not measured for this choice of arms and thresholds; it is measured for the default "
            "procedure only"
        )
    return content["members"], ""
