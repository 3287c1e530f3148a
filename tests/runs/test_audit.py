"""Whole audits of a tiny random model: storage, order, budget, and what is left out."""

import json
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from tiny import subject

from unmask.arms.base import Arm
from unmask.arms.registry import choose_arms
from unmask.edits import NO_EDIT
from unmask.errors import RunError, SettingError, TaskError
from unmask.models.engine import Engine
from unmask.models.subject import Subject
from unmask.runs import budget, calibration
from unmask.runs.audit import run_audit
from unmask.runs.measure import Change, Meter
from unmask.runs.plan import Thresholds, make_plan
from unmask.runs.result import Audit, summary
from unmask.runs.store import RunStore
from unmask.tasks import Item, Task

ITEMS = tuple(
    Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even", "red")) for i in range(24)
)


TASK = Task("odd", ITEMS, "letter")


def plan(items=ITEMS, arms=None, format="letter", **options):
    return make_plan(
        subject("llama"), Task("odd", tuple(items), format), choose_arms(arms), **options
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out, run_audit(plan(), out)


def test_every_arm_gives_evidence(audited):
    _, audit = audited
    by_name = {one.arm: one for one in audit.evidence}
    assert list(by_name) == [arm.name for arm in choose_arms(None)]
    for one in audit.evidence:
        assert one.tested or one.reason
        if one.tested:
            assert 0 <= one.p <= one.p_holm <= 1
    assert by_name["latent_directions"].setting.keys() == {"layer", "scale", "direction"}
    assert audit.baseline.n_items == 24 and audit.seconds > 0
    assert audit.baseline.chance == pytest.approx(1 / 3)


def test_the_result_survives_json(audited):
    _, audit = audited
    assert Audit.from_json(json.loads(json.dumps(audit.to_json()))) == audit
    json.dumps(summary(audit), allow_nan=False)
    with pytest.raises(ValueError, match="expected a result with schema 'unmask.audit/2'"):
        Audit.from_json({"schema": "other"})


def test_a_finished_audit_is_read_from_disk(audited, monkeypatch):
    out, audit = audited
    monkeypatch.setattr(Engine, "under_together", lambda *_: pytest.fail("the model was run again"))
    assert run_audit(plan(), out) == audit


def test_runs_can_be_moved(audited, tmp_path, monkeypatch):
    out, audit = audited
    moved = tmp_path / "elsewhere"
    shutil.copytree(out, moved)
    monkeypatch.setattr(Engine, "under_together", lambda *_: pytest.fail("the model was run again"))
    again = run_audit(plan(), moved)
    assert Path(again.run).parent == moved != Path(audit.run).parent
    assert replace(again, run=audit.run) == audit


def test_stored_units_are_not_computed_again(audited, tmp_path, monkeypatch):
    out, audit = audited
    made = plan()
    with RunStore.read(next(out.iterdir())) as done:
        units = list(done.units())
    with RunStore.open(tmp_path / next(out.iterdir()).name, made.record()) as copy:
        for unit in units:
            copy.put(unit.key, unit.stage, unit.arm, unit.payload, unit.seconds)
    monkeypatch.setattr(
        Engine, "under_together", lambda *_: pytest.fail("a stored unit was run again")
    )
    again = run_audit(made, tmp_path)
    assert replace(again, run=audit.run) == audit


def test_scores_do_not_depend_on_batches_or_order(audited, tmp_path):
    _, audit = audited
    shuffled = random.Random(0).sample(ITEMS, len(ITEMS))
    made = plan(shuffled)
    made.subject.engine.tokens_per_batch, kept = 97, made.subject.engine.tokens_per_batch
    try:
        again = run_audit(made, tmp_path)
    finally:
        made.subject.engine.tokens_per_batch = kept
    for one, other in zip(audit.evidence, again.evidence, strict=True):
        assert {i.item: i.edited for i in one.items} == {i.item: i.edited for i in other.items}
        assert one.setting == other.setting


def test_no_setting_at_all_changes_no_score(tmp_path):
    made = plan()
    with RunStore.open(tmp_path, made.record()) as store:
        meter = Meter(made.subject, made.task, store)
        first, second = meter.scores("baseline", made.selection, [Change(), Change()])
    assert (first == second).all()


def test_open_answers_are_generated_and_matched(tmp_path):
    audit = run_audit(plan(ITEMS[:8], ["weight_noise"], "open"), tmp_path)
    assert audit.baseline.chance == 0 and audit.baseline.score == 0
    assert "below_chance" in {one.arm for one in audit.evidence if not one.tested}
    assert audit.verdict == "inconclusive" and "unable to solve any item" in audit.sentence


def test_the_plan_is_registered_before_the_first_score(tmp_path, monkeypatch):
    monkeypatch.setattr(Meter, "answers", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    made = plan()
    with pytest.raises(RuntimeError, match="stop"):
        run_audit(made, tmp_path)
    with RunStore.read(next(tmp_path.iterdir())) as store:
        assert store.noted("plan")["plan"] == json.loads(json.dumps(made.record()))
        assert not list(store.units())


@pytest.mark.slow  # not for its length: it holds a clock against a busy machine
def test_a_budget_is_kept_and_what_was_left_out_is_said(tmp_path):
    many = [
        replace(ITEMS[0], question=f"Is {i} odd or even, and why is that so?") for i in range(400)
    ]
    began = time.monotonic()
    audit = run_audit(plan(many, max_items=None, budget_seconds=6.0), tmp_path, began=began)
    assert time.monotonic() - began < 6.6
    assert any("fitted into the budget" in line for line in audit.left_out)
    assert sum(one.tested for one in audit.evidence) >= 3


def test_an_arm_that_runs_out_of_time_is_named(tmp_path):
    made = plan(budget_seconds=1000.0)
    first = run_audit(made, tmp_path)
    in_time = {one.arm for one in first.evidence if one.tested}
    assert len(in_time) >= 5
    late = plan(budget_seconds=1000.0, seed=1)
    audit = run_audit(late, tmp_path, began=time.monotonic() - 2000)
    assert any("budget" in line for line in audit.left_out)
    stopped = [one for one in audit.evidence if one.arm in in_time and not one.tested]
    assert stopped and all("budget" in one.reason for one in stopped)


def test_trainings_that_would_take_the_budget_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.runs.audit._Session._seconds_per_item", lambda _: 1.0)
    monkeypatch.setattr("unmask.arms.training.train", lambda *_: pytest.fail("it was trained"))
    arms = ["fixed_noise", "demonstrations"]
    audit = run_audit(plan(arms=arms, budget_seconds=1000.0), tmp_path)
    assert any(line.startswith("demonstrations: not run; one of its") for line in audit.left_out)
    by_name = {one.arm: one for one in audit.evidence}
    assert not by_name["demonstrations"].tested and "budget" in by_name["demonstrations"].reason
    assert sum(one.tested for one in audit.evidence) >= 2


@pytest.mark.parametrize("seconds", [0.5, 5.0, 50.0, 5000.0])
def test_the_cut_plan_costs_no_more_than_the_budget(seconds):
    made = plan()
    works = budget.estimate(made)
    kept, left_out = budget.fit_to(made, works, seconds, 0.02)
    cost = sum(work.items(made, len(kept[work.arm.name])) for work in works if kept[work.arm.name])
    assert cost * 0.02 <= seconds
    complete = all(len(kept[work.arm.name]) == len(work.settings) for work in works)
    assert complete == (not left_out)
    assert complete == (seconds >= 5000.0)


def test_items_that_fill_the_context_are_passed_over(tmp_path):
    long = Item("x" * 300, "odd", ("odd", "even", "red"))
    made = plan((*ITEMS, long))
    assert made.n_too_long == 1 and long.key not in {item.key for item in made.task.items}
    audit = run_audit(made, tmp_path)
    assert any("1 items were passed over" in line for line in audit.left_out)
    assert any(
        "few_shot: " in line and "exceed the model's context" in line for line in audit.left_out
    )
    with pytest.raises(TaskError, match="expected items of at most 96 tokens, three quarters"):
        plan([replace(long, question="y" * 200 + str(i)) for i in range(5)])


def test_too_few_items_for_two_halves_are_an_error():
    with pytest.raises(TaskError, match="expected enough items for a selection and a confirmation"):
        plan(ITEMS[:2])


def test_thresholds_out_of_range_are_an_error():
    with pytest.raises(SettingError, match="expected 0 < alpha < 1"):
        Thresholds(alpha=0.0)


class Broken(Arm):
    """An arm that raises where it is told to."""

    name = "broken"

    def __init__(self, where):
        self.where = where

    def _raise_in(self, where):
        if where == self.where:
            raise RuntimeError(f"nothing works in {where}\nand more")

    def fit(self, subject, task, items):
        self._raise_in("fit")

    def settings(self, subject):
        self._raise_in("settings")
        yield {"layer": 0}

    def edits(self, setting, seed):
        self._raise_in("edits")
        return NO_EDIT


@pytest.mark.parametrize("where", ["fit", "settings", "edits", ""])
def test_one_arms_failure_is_one_arms_failure(tmp_path, where):
    others = choose_arms(["fixed_noise"])
    made = make_plan(subject("llama"), TASK, [Broken(where), *others], seed=3)
    audit = run_audit(made, tmp_path)
    by_name = {one.arm: one for one in audit.evidence}

    assert by_name["fixed_noise"].tested and by_name["prefill"].tested
    assert by_name["broken"].tested == (not where) and by_name["broken"].applicable
    if where:
        assert by_name["broken"].reason.endswith(f": RuntimeError: nothing works in {where}")
    warned = [line for line in audit.warnings if line.startswith("broken could not be ")]
    assert len(warned) == bool(where)


def test_numbers_that_are_not_finite_are_one_arms_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "unmask.runs.measure.damages", lambda subject, edits: [float("nan")] * len(edits)
    )
    audit = run_audit(plan(arms=["fixed_noise"]), tmp_path / "damage")
    by_name = {one.arm: one for one in audit.evidence}
    assert "no setting was within the damage budget" in by_name["fixed_noise"].reason
    assert by_name["prefill"].tested

    def stored(self, key, stage, arm, payload, seconds):
        broken = arm == "prefill" and stage == "selection"
        return put(self, key, stage, arm, {"x": float("nan")} if broken else payload, seconds)

    put = RunStore.put
    monkeypatch.setattr(RunStore, "put", stored)
    audit = run_audit(plan(arms=["fixed_noise"]), tmp_path / "score")
    by_name = {one.arm: one for one in audit.evidence}
    assert "expected finite numbers to store" in by_name["prefill"].reason
    assert by_name["user_persona"].tested


def test_a_failing_store_ends_the_audit(tmp_path, monkeypatch):
    def full(*_):
        raise RunError("the disk is full")

    made = plan()
    monkeypatch.setattr("unmask.runs.frame.Frame.evidence", full)
    with pytest.raises(RunError, match="the disk is full"):
        run_audit(made, tmp_path)


def test_a_model_that_falls_back_to_full_passes_is_audited_by_all_arms_that_can(tmp_path):
    fallen = Subject(tiny.build("llama"), tiny.tokenizer())
    fallen.decoder.exact = fallen.decoder.packs = False
    arms = choose_arms(["latent_directions", "fixed_noise"])
    audit = run_audit(make_plan(fallen, TASK, arms, seed=3), tmp_path)
    by_name = {one.arm: one for one in audit.evidence}

    assert by_name["prefill"].tested and by_name["fixed_noise"].tested
    latent = by_name["latent_directions"]
    assert not latent.tested and "passes of this model run in full only" in latent.reason


def test_nothing_is_searched_or_trained_for_an_estimate(monkeypatch):
    monkeypatch.setattr("unmask.arms.training.train", lambda *_: pytest.fail("it was trained"))
    monkeypatch.setattr(
        "unmask.arms.latent_directions.LatentDirections.vectors",
        lambda *_: pytest.fail("it was searched"),
    )
    works = budget.estimate(plan(arms=["latent_directions", "demonstrations"]))
    assert {"latent_directions", "demonstrations"} <= {work.arm.name for work in works}
    assert all(work.cost > 0 for work in works)


def test_cheap_arms_keep_their_grids_where_dear_ones_do_not_fit():
    made = plan(arms=["demonstrations", "latent_directions"])
    works = budget.estimate(made)
    cheap = [w for w in works if w.arm.name in ("prefill", "user_persona", "few_shot")]
    room = 2.0 * sum(work.items(made) for work in works if work.arm.preparation == 0)
    kept, left_out = budget.fit_to(made, works, room, 1.0)
    assert all(len(kept[work.arm.name]) == len(work.settings) for work in cheap)
    assert kept["demonstrations"] == []
    assert any(line.startswith("demonstrations: not run") for line in left_out)


@pytest.mark.parametrize("format", ["open", "letter"])
def test_a_budget_too_small_for_any_arm_says_so(tmp_path, monkeypatch, format):
    monkeypatch.setattr("unmask.runs.audit._Session._seconds_per_item", lambda _: 100.0)
    audit = run_audit(plan(arms=["fixed_noise"], budget_seconds=50.0, format=format), tmp_path)
    assert audit.verdict == "inconclusive"
    assert "No arm could be run, so nothing was tested: few_shot (did not fit into the budget)" in (
        audit.sentence
    )
    assert "Give a larger --budget" in audit.sentence


@pytest.mark.parametrize("format", ["text", "listed"])
def test_the_score_by_other_rules_is_shown_beside_and_warned_of_where_it_differs(tmp_path, format):
    audit = run_audit(plan(format=format), tmp_path)
    rules = audit.baseline.by_rule
    assert set(rules) == {"sum", "per token", "per byte", "less prior"}
    assert rules["sum"] == pytest.approx(audit.baseline.score)
    apart = [rule for rule, score in rules.items() if abs(score - rules["sum"]) > 0.1]
    warned = [line for line in audit.warnings if line.startswith("Ranked by other rules")]
    assert bool(apart) == bool(warned) and all(rule in warned[0] for rule in apart)


def test_by_letter_no_other_rule_is_shown(audited):
    assert audited[1].baseline.by_rule == {}


def test_a_rate_is_quoted_only_where_every_arm_that_applies_ran(tmp_path, monkeypatch):
    seen = []
    looked_up = calibration.false_positive_rate
    monkeypatch.setattr(
        calibration,
        "false_positive_rate",
        lambda *args, **options: seen.append(options) or looked_up(*args, **options),
    )
    made = make_plan(subject("llama"), TASK, [Broken("edits"), *choose_arms([])], seed=3)
    audit = run_audit(made, tmp_path)
    assert seen == [{"compared": False, "missing": ["broken"]}]
    assert audit.false_positive_rate.rate is None
