"""Keep to a time budget: estimate what the plan costs, and cut the grid to fit.

The cut depends on the speed measured on unedited items only, never on an edited score, and nothing
is searched or trained for the sake of an estimate. It is noted in the run, so a resumed audit keeps
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.arms.base import Arm, Setting
from unmask.runs.measure import GROUP
from unmask.runs.plan import Plan
from unmask.tasks import row

SAFETY = 0.9
"""Share of the remaining time that the estimate may fill."""
BASELINE_SHARE = 0.06
"""Share of the remaining time that the unedited items should take, so that the arms find room."""
MOST_BASELINE_SHARE = 0.25
"""Share that they may take for the sake of `FEW_ITEMS`."""
FEW_ITEMS = 60
"""Fewer items than this find only very large gains."""


@dataclass(frozen=True)
class Work:
    """An arm with the settings that are run, and what they are estimated to cost."""

    arm: Arm
    settings: tuple[Setting, ...]
    cost: float
    """Cost of one item under one setting and seed, in unedited items."""

    def items(self, plan: Plan, n_settings: int | None = None) -> float:
        """Estimated cost in unedited items, for the first `n_settings` settings."""
        n = len(self.settings) if n_settings is None else n_settings
        arm = self.arm
        selected = len(plan.selection) * n * arm.selection_seeds
        confirmed = min(n, arm.confirmed_settings) * arm.confirmation_seeds
        both = 2 if plan.reference is not None else 1
        damaged = 3 * min(n, GROUP)
        run = self.cost * (selected + both * confirmed * len(plan.confirmation) + damaged)
        # A setting that was confirmed is trained again with each of its controls.
        trained = n + sum(len(arm.controls(s)) for s in self.settings[: arm.confirmed_settings])
        return run + both * (trained if n else 0) * arm.preparation


def estimate(plan: Plan) -> list[Work]:
    """List the arms that are to be run, with the relative cost of one item under each."""
    works = []
    for planned in plan.arms:
        if isinstance(planned.arm, Arm) and planned.settings:
            costs = [_cost(plan, planned.arm, setting) for setting in planned.settings]
            works.append(Work(planned.arm, planned.settings, float(np.mean(costs))))
    return works


def n_fitting(total: int, seconds: float, seconds_per_item: float) -> int:
    """Choose how many items fit: better fewer items than no room for the arms, down to a few."""
    wanted = int(BASELINE_SHARE * seconds / seconds_per_item)
    most = int(MOST_BASELINE_SHARE * seconds / seconds_per_item)
    return min(total, max(wanted, min(FEW_ITEMS, most), 8))


def fit_to(
    plan: Plan, works: Sequence[Work], seconds: float, seconds_per_item: float
) -> tuple[dict[str, list[int]], list[str]]:
    """Choose the settings of each arm that fit into the remaining time.

    The cheapest arm is served first. Each has an equal share of what is left, so that cheap arms
    keep their whole grid and leave what they do not need to the others; a grid that exceeds its
    share is thinned evenly, and an arm without room for one setting is left out.

    Returns:
        The kept indices of each arm's settings, and sentences saying what was left out.
    """
    room = SAFETY * seconds / max(seconds_per_item, 1e-9)
    kept: dict[str, list[int]] = {}
    left_out = []
    ordered = sorted(works, key=lambda work: work.items(plan))
    for place, work in enumerate(ordered):
        share = room / (len(ordered) - place)
        n_settings = len(work.settings)
        count = max(
            (n for n in range(1, n_settings + 1) if work.items(plan, n) <= share), default=0
        )
        if count == 0 and work.items(plan, 1) <= room:
            count = 1  # more than its share, yet there is room
        name = work.arm.name
        kept[name] = _spread(n_settings, count)
        room -= work.items(plan, count) if count else 0.0
        if not count:
            needed = work.items(plan, 1) * seconds_per_item / SAFETY
            left_out.append(
                f"{name}: not run; one of its {n_settings} settings would take about "
                f"{needed:.0f} s, more than the budget had left"
            )
        elif count < n_settings:
            left_out.append(f"{name}: {count} of {n_settings} settings fitted into the budget")
    return kept, left_out


def _spread(total: int, count: int) -> list[int]:
    """Take `count` indices, evenly spread."""
    if count == total:
        return list(range(total))
    places = np.linspace(0, total - 1, count + 2)[1:-1].round().astype(int)
    return sorted({int(place) for place in places})


def _cost(plan: Plan, arm: Arm, setting: Setting) -> float:
    """Estimate the cost of one item relative to the unedited one, from the setting alone."""
    subject, task = plan.subject, plan.task
    cost = 1.0
    if task.format != "open" and isinstance(setting.get("layer"), int) and subject.decoder.exact:
        # Blocks below the edited one are shared; drawing noise and scoring cost about a tenth of a
        # pass on small models.
        cost = 0.15 + (subject.n_layers - setting["layer"]) / subject.n_layers
    sample = [task.prompts(item)[0] for item in plan.selection[:8]]
    before = sum(len(row(prompt, subject.tokenizer, subject.chat).text) for prompt in sample)
    after = sum(
        len(row(arm.ask(prompt, setting), subject.tokenizer, subject.chat).text)
        for prompt in sample
    )
    return cost * after / max(before, 1)
