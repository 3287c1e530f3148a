"""The bundled pool's verdicts, as recorded now and at an earlier commit."""

import json
from pathlib import Path
from typing import Any

from unmask.runs import calibration

BEFORE = Path(__file__).parents[1] / "results" / "bundled-46f889c.json"
"""The calibration that was recorded at commit 46f889c, whose verdicts compared with nothing."""


def run() -> list[dict[str, Any]]:
    """Put the recorded verdicts beside each other; `unmask demo --record` records them."""
    before = {row["member"]: row["verdict"] for row in _rows(BEFORE)}
    return [{**row, "before": before[row["member"]]} for row in _rows(calibration.FILE)]


def _rows(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))["members"]
