"""Keep to a time budget: estimate what the plan costs, and cut the grid to fit.

The cut depends on the speed measured on unedited items only, never on an edited score. It is noted
in the run, so a resumed audit keeps it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.arms.base import Arm, Setting
from unmask.runs.plan import Plan
from unmask.tasks import row

SAFETY = 0.9
"""Share of the remaining time that the estimate may fill."""
BASELINE_SHARE = 0.06
"""Share of the remaining time that the unedited items should take, so that the arms find room."""
MOST_BASELINE_SHARE = 0.25
"""Share that they may take for the sake of `FEW_ITEMS`."""
PREPARATION_SHARE = 0.3
"""Share of the remaining time that the trainings of one arm may take."""
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
        run = self.cost * (selected + both * confirmed * len(plan.confirmation) + 3 * n)
        return run + n * arm.preparation


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

    Every arm keeps the same share of its grid, evenly spread and at least one setting; if even that
    is too much, arms are dropped from the last one on.

    Returns:
        The kept indices of each arm's settings, and sentences saying what was left out.
    """
    room = SAFETY * seconds / max(seconds_per_item, 1e-9)
    kept = {work.arm.name: list(range(len(work.settings))) for work in works}
    remaining = list(works)
    for share in np.linspace(1, 0, 41):
        counts = [max(1, int(share * len(work.settings))) for work in works]
        if sum(w.items(plan, n) for w, n in zip(works, counts, strict=True)) <= room:
            break
    else:
        counts = [1] * len(works)
        while remaining and sum(work.items(plan, 1) for work in remaining) > room:
            remaining.pop()
    left_out = []
    for work, count in zip(works, counts, strict=True):
        name, total = work.arm.name, len(work.settings)
        if work not in remaining:
            kept[name] = []
            left_out.append(f"{name}: not run; its {total} settings did not fit into the budget")
        elif count < total:
            spread = np.unique(np.linspace(0, total - 1, count + 2)[1:-1].round().astype(int))
            kept[name] = [int(index) for index in spread]
            left_out.append(f"{name}: {len(spread)} of {total} settings fitted into the budget")
    return kept, left_out


def _cost(plan: Plan, arm: Arm, setting: Setting) -> float:
    """Estimate the cost of one item relative to the unedited one."""
    subject, task = plan.subject, plan.task
    edit = arm.edits(setting, plan.seed)
    cost = 1.0
    if task.format != "open" and not edit.weights and edit.parts and subject.decoder.exact:
        first = min(part.site.first_block for part in edit.activations)
        # Drawing noise and scoring cost about a tenth of a pass on small models.
        cost = 0.15 + (subject.n_layers - first) / subject.n_layers
    sample = [task.prompts(item)[0] for item in plan.selection[:8]]
    before = sum(len(row(prompt, subject.tokenizer, subject.chat).text) for prompt in sample)
    after = sum(
        len(row(arm.ask(prompt, setting), subject.tokenizer, subject.chat).text)
        for prompt in sample
    )
    return cost * after / max(before, 1)
