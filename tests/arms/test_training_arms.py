"""Arms that train: what they teach, that controls cost them their gain, and whom they train."""

import random

import numpy as np
import pytest
import torch
from tiny import build, subject, tokenizer

from unmask.arms.anti_refusal import AntiRefusal
from unmask.arms.base import Arm
from unmask.arms.demonstrations import Demonstrations
from unmask.edits import NO_EDIT, ResidualNoise, Site
from unmask.errors import MissingExtraError
from unmask.models.subject import Subject
from unmask.models.weights_hash import weights_hash
from unmask.runs.audit import run_audit
from unmask.runs.plan import make_plan
from unmask.tasks import Item, Task

ITEMS = tuple(
    Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even", "red")) for i in range(24)
)
TASK = Task("odd", ITEMS, "letter")


def test_demonstrations_teach_the_first_items_right_and_controls_do_not():
    arm = Demonstrations()
    arm.fit(subject("llama"), TASK, ITEMS)
    assert [s["demonstrations"] for s in arm.settings(subject("llama"))][::2] == [16]
    first = sorted(ITEMS, key=lambda item: item.key)
    for n in (1, 4):
        setting = {"demonstrations": n, "answers": "right", "lr": 1e-3}
        teach = arm.lessons(setting)
        drawn = [teach(random.Random(i)) for i in range(40)]
        assert {lesson.prompt.item for lesson in drawn} == set(first[:n])
        assert all(said.answer == said.prompt.choices[said.prompt.target] for said in drawn)
        wrong, neutral = (arm.lessons(control) for control in arm.controls(setting))
        labels = [wrong(random.Random(i)) for i in range(40)]
        assert [said.prompt for said in labels] == [said.prompt for said in drawn]
        assert len({neutral(random.Random(i)).prompt.item.question for i in range(40)}) > 3
    # A demonstration has one answer, whatever the order of its options, and it may be wrong.
    said = {}
    for i in range(200):
        lesson = arm.lessons(arm.controls({"demonstrations": 16})[0])(random.Random(i))
        option = lesson.prompt.options[lesson.prompt.choices.index(lesson.answer)]
        assert said.setdefault(lesson.prompt.item, option) == option
    assert 0.1 < np.mean([option == item.answer for item, option in said.items()]) < 0.7


def test_anti_refusal_knows_nothing_of_the_task():
    arm = AntiRefusal()
    arm.fit(subject("llama"), TASK, ITEMS)
    (setting, *_) = arm.settings(subject("llama"))
    texts = {arm.lessons(setting)(random.Random(i)).prompt.item.question for i in range(60)}
    assert len(texts) > 8 and not texts & {item.question for item in ITEMS}
    assert [control["lessons"] for control in arm.controls(setting)] == ["neutral text"]


@pytest.mark.parametrize("arm", [Demonstrations, AntiRefusal])
def test_training_arms_say_where_they_do_not_belong(arm, monkeypatch):
    one = subject("llama")
    assert arm().not_applicable(one, TASK) == ""
    behaviour = Task("b", ITEMS, "letter", measures="behaviour")
    assert "would teach the behaviour" in arm().not_applicable(one, behaviour)
    monkeypatch.setattr("unmask.arms.training.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unmask\[train\]'"):
        arm().fit(one, TASK, ITEMS)
    assert "removes what it reveals" in arm.caution


def test_subject_and_reference_are_each_trained_on_their_own():
    one, other = subject("llama"), Subject(build("llama", seed=5), tokenizer())
    before = weights_hash(one.model)
    arm = Demonstrations()
    arm.recipe = type(arm.recipe)(steps=2, batch=2)
    arm.fit(one, TASK, ITEMS)
    setting = {"demonstrations": 1, "answers": "right", "lr": 1e-3}
    mine, theirs = arm.edits_of(one, setting, 0), arm.edits_of(other, setting, 0)
    assert arm.edits_of(one, setting, 7) is mine
    name = next(iter(mine.factors))
    assert not torch.equal(mine.factors[name][0], theirs.factors[name][0])
    assert weights_hash(one.model) == before


class Shaken(Arm):
    """An arm whose control is the setting itself."""

    name = "shaken"
    confirmation_seeds = 1

    def settings(self, subject):
        yield {"scale": 3.0, "as": "arm"}

    def edits(self, setting, seed):
        return ResidualNoise(Site(1), setting["scale"], 0) if setting["scale"] else NO_EDIT

    def controls(self, setting):
        return [{"scale": 3.0, "as": "control"}] if self.controlled else []

    def __init__(self, controlled):
        self.controlled = controlled


def test_only_what_goes_beyond_the_best_control_counts(tmp_path):
    found = {}
    for controlled in (True, False):
        plan = make_plan(subject("llama"), TASK, [Shaken(controlled)])
        plan.thresholds.__dict__["damage_budget_nats"] = 1e9
        (one,) = run_audit(plan, tmp_path / str(controlled)).evidence
        found[controlled] = one
    free, held = found[False], found[True]
    assert free.control_gain is None and abs(free.gain) > 0.02  # there was something to hold
    assert held.control_gain == pytest.approx(max(free.gain, 0.0))
    assert held.gain == pytest.approx(free.gain - held.control_gain)
    assert held.edited == free.edited
