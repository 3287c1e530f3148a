"""A meter whose answers are scripted, so that what the frame does with them can be checked."""

import numpy as np
from tiny import subject

from unmask.arms.base import Arm
from unmask.hashing import key_bits
from unmask.runs.measure import Answer, Change, Meter
from unmask.runs.plan import Thresholds, make_plan
from unmask.tasks import Item, Task


def task(n: int = 200, **settings) -> Task:
    items = tuple(Item(f"Is it {i}?", "yes", ("yes", "no")) for i in range(n))
    return Task("scripted", items, "letter", **settings)


class Grid(Arm):
    """An arm with four settings that changes nothing by itself."""

    name = "grid"
    selection_seeds = 2
    confirmation_seeds = 3

    def settings(self, subject):
        for scale in (1, 2, 3, 4):
            yield {"scale": scale}


class TwoConfirmed(Grid):
    """The same, with two settings tested on the confirmation half."""

    name = "two"
    confirmed_settings = 2


class ScriptedMeter(Meter):
    """Answers right with a probability that depends on the setting; notes what it was asked."""

    def __init__(self, base: float, gains: dict[int, float], damages=(0.1, 0.2, 0.3, 0.4)):
        self.subject = subject("llama")
        self.base, self.gains, self.damage = (
            base,
            gains,
            dict(zip((1, 2, 3, 4), damages, strict=True)),
        )
        self.asked: list[tuple[str, str, int]] = []

    def damages(self, arm, settings, seed):
        return [self.damage[setting["scale"]] for setting in settings]

    def answers(self, stage, items, changes):
        return [[self._answer(stage, item, change) for item in items] for change in changes]

    def scores(self, stage, items, changes):
        return np.array([[a.score for a in line] for line in self.answers(stage, items, changes)])

    def _answer(self, stage: str, item: Item, change: Change) -> Answer:
        self.asked.append((stage, item.key, change.seed))
        draw = key_bits("draw", item.key) / 2**63
        right = draw < self.base + self.gains.get(change.setting.get("scale", 0), 0.0)
        return Answer(
            float(right), 1.0, item.question, ("yes" if right else "no",), (float(right),)
        )


def plan(arm: Arm, the_task: Task | None = None, **thresholds):
    return make_plan(
        subject("llama"),
        the_task or task(),
        [arm],
        max_items=None,
        thresholds=Thresholds(**thresholds),
    )
