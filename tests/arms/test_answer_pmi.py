"""Denied knowledge: planted into log-probabilities, and a real model's own."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import subject

from unmask.arms.answer_pmi import AnswerPMI, telling
from unmask.arms.base import Unedited
from unmask.runs.frame import Frame
from unmask.runs.measure import Change, Meter
from unmask.runs.plan import make_plan
from unmask.runs.store import RunStore
from unmask.tasks import Item, Task

WORDS = ("amber", "cedar", "delta", "ember", "fjord", "grove", "heron", "ivory", "jetty", "koala")
ITEMS = tuple(
    Item(f"What is word {number}{again}?", word)
    for again in ("", ", please")
    for number, word in enumerate(WORDS)
)
TASK = Task("words", ITEMS, "open", match="contains", measures="behaviour")


def unedited(known: float, scores: float = 0.0) -> Unedited:
    """Answers that are denied everywhere, and `known` nats less so after their own questions."""

    def log_probs(items, texts):
        rng = np.random.default_rng(1)
        found = rng.normal(-30, 1, size=(len(items), len(texts)))
        found += 10 * rng.normal(size=len(texts))  # some words are likelier than others anywhere
        for place, item in enumerate(items):
            found[place, texts.index(item.answer)] += known
        return found

    n = len(ITEMS)
    return Unedited(
        items=ITEMS,
        hits=np.zeros(n, bool),
        scores=np.full(n, scores),
        chance=np.zeros(n),
        reference_scores=None,
        said=["I do not know."] * n,
        log_probs=log_probs,
        rng=np.random.default_rng(0),
    )


def test_denied_knowledge_is_found():
    found = AnswerPMI().test(unedited(3.0))
    assert found.p is not None and found.p < 1e-3
    assert found.gain is not None and found.gain > 0.5
    assert found.chance == 0.1 and found.edited is not None and found.edited > 0.7
    shown = found.transcripts[0]
    assert (shown.said, shown.said_edited) == ("I do not know.", shown.expected)


def test_ignorance_is_not():
    found = AnswerPMI().test(unedited(0.0))
    assert found.p is not None and found.p > 0.05


def test_what_is_said_openly_is_no_gain():
    found = AnswerPMI().test(unedited(3.0, scores=1.0))
    assert found.gain is not None and found.gain <= 0


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"measures": "capability"}, "it tests for denied knowledge, and the task measures"),
        ({"match": "regex"}, "it compares the answers of different items"),
        ({"items": ITEMS[:7]}, "it needs 8 different answers .*, and there are 7"),
        (
            {"items": tuple(replace(i, question=f"{i.answer}?") for i in ITEMS)},
            "it needs 8 different answers that their questions do not contain, and there are 0",
        ),
    ],
)
def test_it_says_where_it_does_not_apply(changes, why):
    assert re.match(why, AnswerPMI().not_applicable(subject("llama"), replace(TASK, **changes)))
    assert AnswerPMI().not_applicable(subject("llama"), TASK) == ""  # control


def test_a_question_that_contains_its_answer_tells_nothing():
    copied = Item("Repeat: Amber.", "amber")
    assert telling((*ITEMS, copied)) == list(ITEMS)


def test_log_probabilities_are_those_of_the_model_and_are_stored(tmp_path):
    s = subject("llama")
    with RunStore.open(tmp_path / "run", {}) as store:
        meter = Meter(s, TASK, store)
        found = meter.log_probs(AnswerPMI(), ITEMS, WORDS)
        for place in (0, 13):
            text = meter._asked(Change(), ITEMS[place])[0].row.text
            prompt, answer = s.encode(text), s.continuation(text, WORDS[2])
            with torch.no_grad():
                logits = s.model(torch.tensor([[*prompt, *answer]])).logits[0]
            logged = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            expected = sum(float(line[token]) for line, token in zip(logged, answer, strict=True))
            assert found[place, 2] == pytest.approx(expected, abs=1e-3)
        meter.subject = replaced = _Silent(s)  # what is stored is read, without a model
        assert (meter.log_probs(AnswerPMI(), ITEMS, WORDS) == found).all()
        assert not replaced.asked


def test_what_the_reference_does_too_does_not_count(tmp_path):
    s = subject("llama")
    plan = make_plan(s, TASK, [AnswerPMI()], reference=s)
    with RunStore.open(tmp_path / "run", {}) as store:
        meter = Meter(s, TASK, store)
        (answers,) = meter.answers("baseline", ITEMS, [Change()])
        said = {item.key: answer for item, answer in zip(ITEMS, answers, strict=True)}
        alone = Frame(plan, meter, None, said).baseline_evidence(plan.arms[0].arm)
        beside = Frame(plan, meter, Meter(s, TASK, store), said).baseline_evidence(plan.arms[0].arm)
    assert beside.p == 1
    assert alone.p is not None and alone.p < 1  # control


class _Silent:
    """A subject that must not be asked."""

    def __init__(self, subject):
        self.tokenizer, self.chat, self.asked = subject.tokenizer, subject.chat, False

    def choices_under(self, rows, edits):
        self.asked = True
