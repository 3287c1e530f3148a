"""Whole audits of a tiny random model: storage, order, budget, and what is left out."""

import json
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import subject

from unmask.arms.registry import choose_arms
from unmask.errors import SettingError, TaskError
from unmask.models.engine import Engine
from unmask.runs import budget
from unmask.runs.audit import run_audit
from unmask.runs.measure import Change, Meter
from unmask.runs.plan import Thresholds, make_plan
from unmask.runs.result import Audit, summary
from unmask.runs.store import RunStore
from unmask.tasks import Item, Task

ITEMS = tuple(
    Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even", "red")) for i in range(24)
)


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
    assert by_name["activation_noise"].setting.keys() == {"layer", "scale"}
    assert audit.baseline.n_items == 24 and audit.seconds > 0
    assert audit.baseline.chance == pytest.approx(1 / 3)


def test_the_result_survives_json(audited):
    _, audit = audited
    assert Audit.from_json(json.loads(json.dumps(audit.to_json()))) == audit
    json.dumps(summary(audit), allow_nan=False)
    with pytest.raises(ValueError, match="expected a result with schema 'unmask.audit/1'"):
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
    assert "demonstrations: not run; its trainings would take most of the budget" in audit.left_out
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
