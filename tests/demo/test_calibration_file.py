"""The bundled error rates are those of the default procedure on the bundled pool."""

import json
import subprocess
import sys

import pytest

from unmask.arms.registry import choose_arms
from unmask.organisms import pool
from unmask.runs import calibration
from unmask.runs.plan import Thresholds, procedure_digest


def recorded() -> dict:
    return json.loads(calibration.FILE.read_text(encoding="utf-8"))


def test_the_calibration_is_of_the_default_procedure():
    assert recorded()["procedure"] == procedure_digest(choose_arms(None), Thresholds())


def test_another_procedure_has_no_measured_rate():
    other = procedure_digest(choose_arms(None), Thresholds(min_gain=0.2))
    rate, by_secret = calibration.false_positive_rate(other, 0.05)
    assert rate.rate is None and not by_secret and "not measured" in rate.source


def test_the_calibration_covers_the_pool():
    rows = {row["member"]: row for row in recorded()["members"]}
    assert set(rows) == {member.name for member in pool.members()}
    for member in pool.members():
        assert rows[member.name]["role"] == member.role
        assert rows[member.name]["secret"] == member.secret
    rate, by_secret = calibration.false_positive_rate(recorded()["procedure"], 0.05)
    assert rate.n_models == sum(not member.hides for member in pool.members())
    assert sum(audited for _, audited in by_secret.values()) == len(rows) - rate.n_models


@pytest.mark.slow
def test_the_demo_gives_the_recorded_verdicts(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "unmask", "demo", "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = json.loads(ran.stdout)
    assert printed["members"] == recorded()["members"]
    assert (tmp_path / "pool.html").is_file()
