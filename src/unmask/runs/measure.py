"""Measure scores through the store: what is stored is not computed again."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from unmask.arms.base import Arm, BaselineArm, ComparingArm, Setting
from unmask.edits import NO_EDIT, Edit
from unmask.hashing import digest, key_bits
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.runs.store import RunStore
from unmask.tasks import Item, ItemScore, Prompt, Task, row
from unmask.tasks.answering import answers_under
from unmask.tasks.damage import damages
from unmask.tasks.ranking import without_question

CHUNK_ITEMS = 25
"""Items per unit of work: what a kill can lose is at most `GROUP` such units."""
GROUP = 6
"""Edits that share one clean pass."""
OVERFLOWING = 1e6
"""Damage in nats per token of an edit under which the model returns no numbers."""


class Change(NamedTuple):
    """One way of measuring: an arm's setting under one seed; no arm means unedited."""

    arm: Arm | None = None
    setting: Setting = {}
    seed: int = 0

    @property
    def identity(self) -> list[Any]:
        """What determines the change, beside the text that is asked."""
        name = self.arm.name if self.arm else ""
        return [name, dict(self.setting), self.seed]

    def edit(self, subject: Subject) -> Edit:
        """The change of the model."""
        return self.arm.edits_of(subject, self.setting, self.seed) if self.arm else NO_EDIT

    def ask(self, prompt: Prompt) -> Prompt:
        """The change of the prompt."""
        return self.arm.ask(prompt, self.setting) if self.arm else prompt


class Asked(NamedTuple):
    """A prompt and what is read of it."""

    prompt: Prompt
    row: Row

    @property
    def identity(self) -> list[Any]:
        """What determines the answer."""
        return [self.row.text, list(self.row.choices), self.row.key, self.prompt.target]


@dataclass(frozen=True)
class Answer:
    """How one item went under one change."""

    score: float
    """Mean over rotations, in [0, 1]."""
    parsed: float
    """Share of rotations answered by one of the choices."""
    asked: str
    """What was read, in the first rotation."""
    said: tuple[str, ...]
    """What was chosen or written, in each rotation."""
    hits: tuple[float, ...]
    """Score of each rotation."""
    log_probs: tuple[tuple[float, ...], ...] = ()
    """In each rotation, of the options that were ranked as texts, in nats; else empty."""
    n_tokens: tuple[tuple[int, ...], ...] = ()
    """Their lengths in tokens."""


class OutOfTimeError(Exception):
    """The budget is spent; what was measured is stored."""


class Meter:
    """Scores a subject on a task, unit by unit, through the store."""

    def __init__(
        self,
        subject: Subject,
        task: Task,
        store: RunStore,
        *,
        deadline: float = float("inf"),
        on_unit: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Bind a subject to a task and a store.

        Args:
            subject: The model that is measured.
            task: How items are asked and scored.
            store: Where units are kept.
            deadline: Value of `time.monotonic` after which no unit is begun.
            on_unit: Called with the number of units done, stored ones too.
        """
        self.subject, self.task, self.store = subject, task, store
        self.deadline, self.on_unit = deadline, on_unit
        self._identity = [
            subject.provenance["weights_hash"],
            subject.provenance["dtype"],
            task.format,
            task.match,
            task.max_new_tokens,
        ]

    def scores(
        self, stage: str, items: Sequence[Item], changes: Sequence[Change]
    ) -> Float[np.ndarray, "n_changes n_items"]:
        """Measure every item under every change.

        Raises:
            OutOfTimeError: If the deadline has passed before all units were done.
        """
        return np.array([[a.score for a in line] for line in self.answers(stage, items, changes)])

    def answers(
        self, stage: str, items: Sequence[Item], changes: Sequence[Change]
    ) -> list[list[Answer]]:
        """Measure every item under every change, with what was asked and said."""
        lines: list[list[Answer]] = [[] for _ in changes]
        for start in range(0, len(items), CHUNK_ITEMS):
            chunk = items[start : start + CHUNK_ITEMS]
            for first in range(0, len(changes), GROUP):
                group = changes[first : first + GROUP]
                for line, answers in zip(
                    lines[first:], self._units(stage, chunk, group), strict=False
                ):
                    line.extend(answers)
                self.on_unit(len(group))
        return lines

    def damages(self, arm: Arm, settings: Sequence[Setting], seed: int) -> list[float]:
        """Measure the damage of each setting in nats per token, with one seed."""
        found: dict[str, float] = {}
        changes = [Change(arm, setting, seed) for setting in settings]
        keys = [self._key("damage", change.identity) for change in changes]
        for key in keys:
            if (stored := self.store.get(key)) is not None:
                found[key] = stored["damage_nats"]
        missing = [index for index, key in enumerate(keys) if key not in found]
        for first in range(0, len(missing), GROUP):
            self._check_time()
            group = missing[first : first + GROUP]
            began = time.perf_counter()  # to make an edit may take a training
            edits = [self._edit(changes[index]) for index in group]
            measured = damages(self.subject, edits) if any(e.parts for e in edits) else None
            if measured:  # an edit that makes the model overflow does more than any budget allows
                measured = [d if math.isfinite(d) else OVERFLOWING for d in measured]
            seconds = (time.perf_counter() - began) / len(group)
            for place, index in enumerate(group):
                value = measured[place] if measured else 0.0
                found[keys[index]] = value
                payload = {"damage_nats": value, "setting": dict(settings[index])}
                self.store.put(keys[index], "damage", arm.name, payload, seconds)
        return [found[key] for key in keys]

    def quantities(self, arm: ComparingArm, items: Sequence[Item]) -> Float[np.ndarray, " n_items"]:
        """Measure an arm's quantity of every item.

        Raises:
            OutOfTimeError: If the deadline has passed before all items were measured.
        """
        values: list[float] = []
        for item in items:
            asked = [one.identity for one in self._asked(Change(), item)]
            key = self._key("quantity", arm.name, asked)
            stored = self.store.get(key)
            if stored is None:
                self._check_time()
                began = time.perf_counter()
                value = float(arm.measure(self.subject, self.task, [item])[0])
                stored = {"item": item.key, "value": value}
                self.store.put(key, "quantity", arm.name, stored, time.perf_counter() - began)
            values.append(stored["value"])
            self.on_unit(1)
        return np.array(values)

    def log_probs(
        self, arm: BaselineArm, items: Sequence[Item], texts: Sequence[str]
    ) -> Float[np.ndarray, "n_items n_texts"]:
        """Measure the log-probability of texts after each item's question, in nats.

        Raises:
            OutOfTimeError: If the deadline has passed before all items were measured.
        """
        lines: list[list[float]] = []
        for start in range(0, len(items), CHUNK_ITEMS):
            chunk = items[start : start + CHUNK_ITEMS]
            prompts = [self.task.prompts(item)[0].with_(choices=tuple(texts)) for item in chunk]
            rows = [row(prompt, self.subject.tokenizer, self.subject.chat) for prompt in prompts]
            key = self._key("log-probs", [[r.text, list(r.choices)] for r in rows])
            stored = self.store.get(key)
            if stored is None:
                self._check_time()
                began = time.perf_counter()
                (scores,) = self.subject.choices_under(rows, [NO_EDIT])
                stored = {"log_probs": [list(one.log_probs) for one in scores]}
                self.store.put(key, "log-probs", arm.name, stored, time.perf_counter() - began)
            lines += stored["log_probs"]
        return np.array(lines)

    def priors(self, items: Sequence[Item]) -> list[list[list[float]]]:
        """Measure the log-probability of each rotation's choices where no question was asked.

        Returns:
            For each item, for each rotation, its choices' log-probabilities in nats.

        Raises:
            NotFiniteError: If one is not finite.
        """
        priors: list[list[list[float]]] = []
        for start in range(0, len(items), CHUNK_ITEMS):
            asked = [
                [without_question(prompt) for prompt in self.task.prompts(item)]
                for item in items[start : start + CHUNK_ITEMS]
            ]
            rows = [
                row(prompt, self.subject.tokenizer, self.subject.chat)
                for prompts in asked
                for prompt in prompts
            ]
            key = self._key("prior", [[r.text, list(r.choices)] for r in rows])
            stored = self.store.get(key)
            if stored is None:
                self._check_time()
                began = time.perf_counter()
                (scores,) = self.subject.choices_under(rows, [NO_EDIT])
                stored = {"log_probs": [list(score.log_probs) for score in scores]}
                self.store.put(key, "prior", "", stored, time.perf_counter() - began)
            remaining = iter(stored["log_probs"])
            priors += [[next(remaining) for _ in prompts] for prompts in asked]
        return priors

    def _units(
        self, stage: str, items: Sequence[Item], group: Sequence[Change]
    ) -> list[list[Answer]]:
        """Measure one chunk of items under a few changes; only what is not stored is computed."""
        asked = [[self._asked(change, item) for item in items] for change in group]
        texts = [digest([[one.identity for one in item] for item in line]) for line in asked]
        keys = [
            self._key("unit", change.identity, text)
            for change, text in zip(group, texts, strict=True)
        ]
        found = {key: self.store.get(key) for key in keys}
        missing = [index for index, key in enumerate(keys) if found[key] is None]
        # Edits of the same prompts share one clean pass; changed prompts go one by one.
        shared: dict[str, list[int]] = {}
        for index in missing:
            shared.setdefault(texts[index], []).append(index)
        for indices in shared.values():
            self._check_time()
            began = time.perf_counter()
            measured = self._run(asked[indices[0]], [self._edit(group[i]) for i in indices])
            seconds = (time.perf_counter() - began) / len(indices)
            for index, answers in zip(indices, measured, strict=True):
                payload = {"items": [item.key for item in items], "answers": answers}
                arm = group[index].arm
                self.store.put(keys[index], stage, arm.name if arm else "", payload, seconds)
                found[keys[index]] = payload
        return [[_answer(record) for record in (found[key] or {})["answers"]] for key in keys]

    def _asked(self, change: Change, item: Item) -> list[Asked]:
        asked = []
        for prompt in map(change.ask, self.task.prompts(item)):
            asked.append(Asked(prompt, row(prompt, self.subject.tokenizer, self.subject.chat)))
        return asked

    def _run(
        self, asked: Sequence[Sequence[Asked]], edits: Sequence[Edit]
    ) -> list[list[dict[str, Any]]]:
        """Put the prompts of each item to the subject, and score its answers, under each edit."""
        flat = [one for item in asked for one in item]
        prompts, rows = [one.prompt for one in flat], [one.row for one in flat]
        scored = answers_under(self.subject, self.task, prompts, rows, edits)
        return [_records(asked, line) for line in scored]

    def _edit(self, change: Change) -> Edit:
        """Make an edit, which may take a training."""
        self._check_time()
        return change.edit(self.subject)

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise OutOfTimeError

    def _key(self, kind: str, *determining: Any) -> str:
        return digest(kind, self._identity, *determining)


def hits(items: Sequence[Item], answers: Sequence[Answer]) -> Float[np.ndarray, " n_items"]:
    """Take one rotation's score per item, drawn by the item's hash: independent trials."""
    drawn = [
        answer.hits[key_bits("rotation", item.key) % len(answer.hits)]
        for item, answer in zip(items, answers, strict=True)
    ]
    return np.array(drawn)


def _records(asked: Sequence[Sequence[Asked]], scores: Sequence[ItemScore]) -> list[dict[str, Any]]:
    """Group the scores of all prompts by item, as they are stored."""
    remaining = iter(scores)
    records = []
    for item in asked:
        mine = [next(remaining) for _ in item]
        records.append(
            {
                "asked": item[0].row.text,
                "said": [one.said for one in mine],
                "hits": [one.score for one in mine],
                "parsed": float(np.mean([one.parsed for one in mine])),
                "log_probs": [list(one.log_probs) for one in mine],
                "n_tokens": [list(one.n_tokens) for one in mine],
            }
        )
    return records


def _answer(record: dict[str, Any]) -> Answer:
    return Answer(
        score=float(np.mean(record["hits"])),
        parsed=record["parsed"],
        asked=record["asked"],
        said=tuple(record["said"]),
        hits=tuple(record["hits"]),
        log_probs=tuple(map(tuple, record["log_probs"])),
        n_tokens=tuple(map(tuple, record["n_tokens"])),
    )
