from dataclasses import replace

import numpy as np
import pytest
from scripted import Grid, ScriptedMeter, TwoConfirmed, plan, task
from tiny import subject

from unmask.arms.base import ComparingArm
from unmask.arms.below_chance import BelowChance
from unmask.runs.frame import Frame, _tested
from unmask.runs.measure import Change
from unmask.runs.plan import Thresholds, make_plan
from unmask.runs.reading import read


def frame(meter, arm, reference=None, **thresholds):
    the_plan = plan(arm, **thresholds)
    items = (*the_plan.selection, *the_plan.confirmation)
    (line,) = meter.answers("baseline", items, [Change()])
    baseline = {item.key: answer for item, answer in zip(items, line, strict=True)}
    meter.asked.clear()
    return Frame(the_plan, meter, reference, baseline), the_plan


def test_the_setting_with_the_largest_gain_is_confirmed():
    meter = ScriptedMeter(0.3, {1: 0.05, 2: 0.3, 3: 0.1})
    f, the_plan = frame(meter, Grid())
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert found.setting == {"scale": 2} and found.n_items == len(the_plan.confirmation)
    assert found.gain == pytest.approx(0.3, abs=0.1) and found.p < 1e-3
    assert found.interval[0] < found.gain < found.interval[1]
    assert found.edited == pytest.approx(found.baseline + found.gain)
    assert [cell.gain for cell in found.cells][1] == max(cell.gain for cell in found.cells)


def test_no_effect_gives_no_gain():
    f, the_plan = frame(ScriptedMeter(0.3, {}), Grid())
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert found.gain == 0 and found.p == 1 and found.interval == (0, 0)


def test_selection_and_confirmation_share_neither_items_nor_seeds():
    meter = ScriptedMeter(0.3, {2: 0.3})
    f, the_plan = frame(meter, Grid())
    f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    selected = {(key, seed) for stage, key, seed in meter.asked if stage == "selection"}
    confirmed = {(key, seed) for stage, key, seed in meter.asked if stage == "confirmation"}
    assert {key for key, _ in selected} == {item.key for item in the_plan.selection}
    assert {key for key, _ in confirmed} == {item.key for item in the_plan.confirmation}
    assert {seed for _, seed in selected} == {0, 1} and {seed for _, seed in confirmed} == {2, 3, 4}


def test_settings_beyond_the_damage_budget_are_never_confirmed():
    meter = ScriptedMeter(0.3, {2: 0.2, 4: 0.6}, damages=(0.1, 0.2, 0.3, 0.9))
    f, the_plan = frame(meter, Grid(), damage_budget_nats=0.5)
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert found.setting == {"scale": 2} and not found.cells[3].within_budget
    # Control: with room in the budget the more damaging setting wins.
    f, the_plan = frame(meter, Grid(), damage_budget_nats=1.0)
    assert f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings).setting == {"scale": 4}


def test_an_arm_without_a_setting_in_the_budget_is_not_tested():
    meter = ScriptedMeter(0.3, {2: 0.3}, damages=(0.6, 0.7, 0.8, 0.9))
    f, the_plan = frame(meter, Grid(), damage_budget_nats=0.5)
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert not found.tested and found.p is None and len(found.cells) == 4
    assert found.reason == (
        "no setting was within the damage budget of 0.5 nats per token (least: 0.6)"
    )


def test_two_confirmed_settings_cost_a_larger_p():
    gains = {2: 0.07, 3: 0.05}
    one, the_plan = frame(ScriptedMeter(0.3, gains), Grid())
    single = one.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    two, the_plan = frame(ScriptedMeter(0.3, gains), TwoConfirmed())
    double = two.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert double.setting == single.setting == {"scale": 2}
    assert double.gain == single.gain and double.p >= single.p


def test_a_subject_that_gains_like_its_reference_has_no_gain():
    gains = {2: 0.3}
    meter = ScriptedMeter(0.3, gains)
    alone, the_plan = frame(meter, Grid())
    assert alone.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings).p < 1e-3
    f, the_plan = frame(meter, Grid(), reference=ScriptedMeter(0.3, gains))
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert found.gain == 0 and found.p == 1
    assert found.reference_gain == pytest.approx(found.edited - found.baseline) and (
        found.reference_gain > 0.2
    )


def test_a_subject_that_gains_more_than_its_reference_is_seen():
    f, the_plan = frame(
        ScriptedMeter(0.3, {2: 0.3}), Grid(), reference=ScriptedMeter(0.3, {2: 0.05})
    )
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert found.gain == pytest.approx(0.25, abs=0.1) and found.p < 1e-3


def test_an_edit_that_breaks_the_reference_is_no_evidence():
    """The reference falls from .8 to .1, and the subject gains next to nothing."""
    together, alone = (
        f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
        for f, the_plan in (
            frame(ScriptedMeter(0.8, {2: 0.04}), Grid(), reference)
            for reference in (ScriptedMeter(0.8, {2: -0.7}), None)
        )
    )
    assert together.setting == {"scale": 2} and together.reference_gain < -0.5
    assert together.gain == alone.gain < 0.1 and together.p > 0.01


def test_the_level_holds_where_each_setting_is_null_in_another_test():
    """Setting 1 gains as its reference does, and setting 2 gains nothing where the other breaks."""
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(300):
        noise = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=(4, 100))
        own = np.stack([noise[0] + 0.5, noise[1]])[:, None]
        reference = np.stack([noise[2] + 0.5, noise[3] - 0.5])[:, None]
        p, _ = _tested(own, reference, np.random.default_rng(1))
        rejected += p.min() < 0.05
    assert rejected / 300 < 0.085


def test_transcripts_show_the_items_that_gained():
    f, the_plan = frame(ScriptedMeter(0.3, {2: 0.3}), Grid())
    found = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    first = found.transcripts[0]
    assert (first.said, first.said_edited, first.score, first.score_edited) == ("no", "yes", 0, 1)
    assert len(found.items) == found.n_items


@pytest.mark.parametrize(
    ("gain", "reading"), [(0.6, "more than it shows"), (0.4, "back to chance")]
)
def test_a_gain_that_only_climbs_back_to_chance_is_told_apart(gain, reading):
    # Chance is .5; the baseline is far below it.
    f, the_plan = frame(ScriptedMeter(0.1, {2: gain}), Grid())
    evidence = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)

    assert evidence.p < 0.01 and evidence.edited_low < evidence.edited
    assert read(replace(evidence, p_holm=evidence.p), Thresholds()) == reading
    assert read(replace(evidence, p_holm=0.5), Thresholds()) == "no gain"


@pytest.mark.parametrize("reference", [None, ScriptedMeter(0.3, {2: 0.05})])
def test_evidence_says_with_what_it_was_compared(reference):
    f, the_plan = frame(ScriptedMeter(0.3, {2: 0.3}), Grid(), reference=reference)
    evidence = f.evidence(the_plan.arms[0].arm, the_plan.arms[0].settings)
    assert evidence.compared == ("" if reference is None else "reference")


@pytest.mark.parametrize(
    ("reference", "found"),
    [(None, True), (ScriptedMeter(0.6, {}), True), (ScriptedMeter(0.1, {}), False)],
)
def test_a_score_below_chance_counts_beside_a_reference_only_if_that_scores_more(reference, found):
    """A wrong answer key or misleading questions make the reference score as low."""
    f, _ = frame(ScriptedMeter(0.1, {}), Grid(), reference=reference)
    evidence = f.baseline_evidence(BelowChance())
    assert (evidence.p < 0.01) == found
    assert (evidence.gain is None) == (reference is None) and evidence.edited is None
    assert evidence.compared == ("" if reference is None else "reference")


class Nearness(ComparingArm):
    """A quantity by script."""

    name = "nearness"
    quantity = "distance"
    n_items = 40

    def measure(self, subject, task, items):
        raise AssertionError("the scripted meter answers")


def comparing(mine, theirs):
    """Evidence where an item's quantity is a function of its place."""
    arm, meters = Nearness(), []
    for values in (mine, theirs):
        meter = ScriptedMeter(0.3, {})
        meter.quantities = lambda _, items, values=values: np.array(
            [values(place) for place in range(len(items))]
        )
        meters.append(meter)
    the_plan = plan(Grid())
    return Frame(the_plan, meters[0], meters[1], {}).comparing_evidence(arm)


def test_a_quantity_far_below_the_reference_s_is_a_gain():
    found = comparing(lambda place: 1.0, lambda place: 2.1)
    assert found.gain == 1 and found.p < 1e-3 and found.n_items == 40
    assert found.medians == (1.0, 2.1) and found.tested


def test_a_quantity_within_the_margin_or_above_is_no_gain():
    within = comparing(lambda place: 1.0, lambda place: 1.9)
    assert within.gain == 0 and within.p == 1
    above = comparing(lambda place: 3.0, lambda place: 1.0)
    assert above.gain == -1 and above.p > 0.99
    mixed = comparing(lambda place: 1.0 + 2 * (place % 2), lambda place: 3.0 - 2 * (place % 2))
    assert mixed.gain == 0 and mixed.p > 0.3


def test_an_arm_that_compares_needs_a_reference():
    alone = make_plan(subject("llama"), task(), [Nearness()])
    assert alone.arms[0].excluded == (
        "it compares with a reference, and none was given (--reference)"
    )
    both = make_plan(subject("llama"), task(), [Nearness()], reference=subject("llama"))
    assert both.arms[0].excluded == ""
