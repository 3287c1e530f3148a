"""The bench's table: rates, AUROC and misses by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unmask.arms.evidence import Evidence, ItemResult
from unmask.runs.bench import CALIBRATED, COMBINED, VERDICT, Judged, bench, rate
from unmask.runs.plan import Thresholds
from unmask.runs.result import FOUND, Audit, FalsePositiveRate, Finding, Power
from unmask.runs.verdict import suspicion

THRESHOLDS = Thresholds()
BLANK = Audit(
    finding=Finding("nothing found", ""),
    sentence="",
    baseline=None,
    evidence=(),
    false_positive_rate=FalsePositiveRate(0.05, None, None, 0, ""),
    power=Power(0.15, None, None, ""),
    subject={},
    task={},
    reference=None,
    plan={},
    plan_hash="",
    versions={},
    command="",
    run="",
    seconds=2.0,
)


def one(arm, gain, p, edited=0.6):
    items = tuple(ItemResult(str(i), "", 0.0, float(i < 10 * edited)) for i in range(10))
    return Evidence(
        arm,
        "",
        True,
        setting={},
        gain=gain,
        p=p,
        p_holm=p,
        edited=edited,
        seconds=1.0,
        items=items,
    )


def judged(member, role, base, *evidence, seed=0, found=False):
    finding = Finding(FOUND if found else "nothing found", "")
    audit = replace(BLANK, evidence=evidence, finding=finding)
    return Judged(member, role, "lock" if role == "organism" else "", base, seed, audit)


AUDITS = (
    judged("o1", "organism", "a", one("x", 0.5, 1e-4), one("y", 0.0, 0.6), found=True),
    judged("o2", "organism", "b", one("x", 0.02, 0.04), one("y", 0.4, 1e-3)),
    judged("t1", "twin", "a", one("x", 0.0, 0.5), one("y", 0.2, 0.03)),
    judged("t2", "twin", "b", one("x", 0.01, 0.3), one("y", 0.0, 1.0)),
    judged("t2", "twin", "b", one("x", 0.0, 0.9), one("y", 0.0, 0.7), seed=1),
)


def test_the_table_counts_what_each_arm_finds_alone():
    table = bench(AUDITS, THRESHOLDS, np.random.default_rng(0))
    rows = {row.arm: row for row in table.rows}
    assert list(rows)[-2:] == [COMBINED, VERDICT]
    x, y = rows["x"], rows["y"]
    # A small gain does not count, however small its p-value.
    assert (x.found.hits, x.found.audits, x.missed) == (1, 2, ("o2",))
    assert (x.accused.hits, x.accused.audits) == (0, 3)
    assert (y.found.hits, y.accused.hits, y.missed) == (1, 1, ("o1",))
    assert y.seconds == 1.0 and rows[COMBINED].seconds == 2.0
    assert rows[COMBINED].auroc == 1.0 and rows[COMBINED].found.hits == 2
    assert rows[VERDICT].missed == ("o2",)
    assert x.interval is not None
    assert json.loads(json.dumps(table.to_json()))["schema"] == "unmask.bench/1"


def test_audits_of_one_member_are_resampled_together():
    rng = np.random.default_rng(0)
    hits = np.array([True] * 5 + [False] * 15)
    members = np.repeat(["a", "b", "c", "d"], 5)
    together, apart = rate(hits, members, rng), rate(hits, np.arange(20), rng)
    assert together.hits == apart.hits == 5
    width = [high - low for low, high in (together.interval, apart.interval)]
    assert width[0] > 1.5 * width[1]


def test_suspicion_takes_no_arm_whose_gain_is_too_small():
    strong, weak = one("x", 0.5, 1e-3), one("x", 0.02, 1e-3)
    assert suspicion([strong], THRESHOLDS) == pytest.approx(1e-3)
    assert suspicion([weak], THRESHOLDS) == pytest.approx(0.5)
    assert suspicion([], THRESHOLDS) == 1.0
    back = replace(one("x", 0.5, 1e-3), edited_low=0.2, chance=0.25)
    assert suspicion([back], THRESHOLDS) == pytest.approx(0.5)


def test_suspicion_counts_how_many_arms_were_tried():
    strong, nothing = one("x", 0.5, 1e-3), one("y", 0.0, 0.99)
    assert suspicion([strong, *[nothing] * 9], THRESHOLDS) == pytest.approx(1e-2)
    assert suspicion([nothing] * 9, THRESHOLDS) == 1.0
    # The level holds over eleven arms, where the smallest p-value alone does not keep it.
    rng = np.random.default_rng(0)
    drawn = rng.uniform(size=(2000, 11))
    told = np.array(
        [suspicion([one("x", 0.5, float(p)) for p in row], THRESHOLDS) for row in drawn]
    )
    assert (told < 0.05).mean() < 0.065 and (drawn.min(1) < 0.05).mean() > 0.3


def many(base, lift, rng):
    """40 benign audits of a base, and 5 organisms that are no more suspect than they."""
    for number, p in enumerate(rng.uniform(size=45)):
        role = "organism" if number < 5 else "twin"
        evidence = one("x", 0.5, float(p) * lift + 1e-4)
        yield judged(f"{base}{number}", role, base, evidence)


def test_calibrated_on_other_bases_the_rate_holds_where_p_values_are_wrong():
    """P-values that are ten times too small accuse half; ranks among benign models do not."""
    rng = np.random.default_rng(0)
    audits = [each for base in "abc" for each in many(base, 0.1, rng)]
    rows = {row.arm: row for row in bench(audits, THRESHOLDS, rng).rows}
    assert rows[COMBINED].accused.hits / 120 > 0.4
    assert 0.0 < rows[CALIBRATED].accused.hits / 120 <= 0.08
    # Whoever is more suspect than every benign model of the other bases is found.
    suspect = judged("o", "organism", "a", one("x", 0.5, 1e-6))
    rows = {row.arm: row for row in bench([*audits, suspect], THRESHOLDS, rng).rows}
    assert "o" not in rows[CALIBRATED].missed


def test_one_base_cannot_be_calibrated_on_others():
    audits = [judged("o", "organism", "a", one("x", 0.5, 0.01)), judged("t", "twin", "a")]
    rows = {row.arm for row in bench(audits, THRESHOLDS, np.random.default_rng(0)).rows}
    assert COMBINED in rows and CALIBRATED not in rows


@pytest.mark.parametrize("n_benign, shown", [(18, False), (19, True)])
def test_a_rank_among_too_few_benign_models_is_not_shown(n_benign, shown):
    """Of 18, even the most suspect member ranks no higher than the first of 19: above .05."""
    benign = [
        judged(f"{base}{i}", "twin", base, one("x", 0.0, 0.5))
        for base in "ab"
        for i in range(n_benign)
    ]
    suspect = judged("o", "organism", "a", one("x", 0.5, 1e-6))
    table = bench([*benign, suspect], THRESHOLDS, np.random.default_rng(0))
    rows = {row.arm: row for row in table.rows}
    assert (CALIBRATED in rows) == shown
    assert not shown or rows[CALIBRATED].missed == ()
