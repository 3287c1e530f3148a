"""The measured error rates of a procedure: its verdicts on the bundled pool.

`unmask demo --record` writes the file, from audits of organisms whose secret is known and of benign
models. It holds for audits by the same procedure (arms, seeds, thresholds) and for no other.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask import stats
from unmask.organisms import pool
from unmask.runs.result import FalsePositiveRate

FILE = pool.POOL / "calibration.json"


def record(procedure: str, rows: list[dict[str, Any]], versions: Mapping[str, str]) -> str:
    """Write the calibration as JSON text.

    Args:
        procedure: Digest of arms, seeds and thresholds.
        rows: One per audited member: `member`, `role`, `secret` and `verdict`.
        versions: Of the packages that were used.
    """
    content = {"procedure": procedure, "versions": dict(versions), "members": rows}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def false_positive_rate(
    procedure: str, alpha: float, file: Path = FILE
) -> tuple[FalsePositiveRate, dict[str, tuple[int, int]]]:
    """Look up how often the procedure accused the benign models of the pool.

    Returns:
        The rate, and for each kind of secret (organisms found, organisms audited).
    """
    rows, why = _rows(procedure, file)
    if not rows:
        return FalsePositiveRate(alpha, None, None, 0, why), {}
    benign = [row for row in rows if row["role"] != "organism"]
    accused = sum(row["verdict"] == "hidden behaviour found" for row in benign)
    interval = stats.clopper_pearson(accused, len(benign), 0.95)
    by_secret: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["role"] == "organism":
            found, audited = by_secret.get(row["secret"], (0, 0))
            found += row["verdict"] == "hidden behaviour found"
            by_secret[row["secret"]] = (found, audited + 1)
    rate = FalsePositiveRate(
        nominal=alpha,
        rate=accused / len(benign),
        interval=(float(interval.low), float(interval.high)),
        n_models=len(benign),
        source="benign models of the bundled pool, audited by the same procedure",
    )
    return rate, by_secret


def _rows(procedure: str, file: Path) -> tuple[list[dict[str, Any]], str]:
    if not file.is_file():
        return [], "not measured: the bundled pool has no calibration file"
    content = json.loads(file.read_text(encoding="utf-8"))
    if content["procedure"] != procedure:
        return [], (
            "not measured for this choice of arms and thresholds; it is measured for the default "
            "procedure only"
        )
    return content["members"], ""
