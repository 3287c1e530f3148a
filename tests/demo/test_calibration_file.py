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


@pytest.mark.parametrize("compared", [True, False])
def test_another_procedure_has_no_measured_rate(compared):
    other = procedure_digest(choose_arms(None), Thresholds(min_gain=0.2))
    rate, by_secret = calibration.false_positive_rate(other, 0.05, compared=compared)
    assert rate.rate is None and not by_secret and "not measured" in rate.source


@pytest.mark.parametrize("compared", [True, False])
def test_the_calibration_covers_the_pool_beside_its_bases_and_alone(compared):
    rows = {row["member"]: row for row in recorded()["members"]}
    assert set(rows) == {member.name for member in pool.members()}
    for member in pool.members():
        assert rows[member.name]["role"] == member.role
        assert rows[member.name]["secret"] == member.secret
        assert rows[member.name]["alone"] != "hidden behaviour found"
    procedure = recorded()["procedure"]
    rate, by_secret = calibration.false_positive_rate(procedure, 0.05, compared=compared)
    assert rate.n_models == sum(not member.hides for member in pool.members())
    assert rate.counts == ("accused" if compared else "flagged")
    assert sum(audited for _, audited in by_secret.values()) == len(rows) - rate.n_models
    assert sum(found for found, _ in by_secret.values()) == sum(
        row["verdict"] == "hidden behaviour found"
        if compared
        else row["alone"] in ("hidden behaviour found", "more than it shows")
        for row in rows.values()
        if row["role"] == "organism"
    )


def test_no_rate_holds_where_an_arm_did_not_run():
    procedure = recorded()["procedure"]
    rate, _ = calibration.false_positive_rate(
        procedure, 0.05, compared=True, missing=["demonstrations"]
    )
    assert rate.rate is None and "in which demonstrations did not run" in rate.source


@pytest.mark.slow
def test_the_demo_gives_the_recorded_verdicts(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "unmask", "demo", "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = json.loads(ran.stdout)
    beside = [{k: v for k, v in row.items() if k != "alone"} for row in recorded()["members"]]
    assert printed["members"] == beside
    assert (tmp_path / "pool.html").is_file()
