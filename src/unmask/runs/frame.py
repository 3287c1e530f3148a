"""From an arm to its evidence: select on one half, confirm on the other.

The estimand. For each item the score under a setting is compared with the unedited score. On the
selection half the setting with the largest mean change is picked among those within the damage
budget; on the confirmation half the mean change at that setting is the gain, tested by sign flips
over items, with max-T where several settings are confirmed. With a reference there are two tests,
of the change and of what it is more than the reference's, and the larger p-value and the smaller
gain count (an intersection-union test: Berger 1982): an edit that breaks the reference is no
evidence.

Items share the draw of a noise that is fixed for the run, so for such arms the test is about the
seeds that were drawn; they are several, and none of them was used for selection.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from unmask import stats
from unmask.arms.base import Arm, BaselineArm, ComparingArm, Setting, Unedited
from unmask.arms.evidence import Cell, Evidence, ItemResult, Transcript
from unmask.runs.measure import GROUP, Answer, Change, Meter, hits
from unmask.runs.plan import Plan
from unmask.tasks import Item

N_TRANSCRIPTS = 6
N_DIRECTIONS = 4
"""How many steering vectors are described."""


class Frame:
    """Turns arms into evidence for one plan."""

    def __init__(
        self,
        plan: Plan,
        meter: Meter,
        reference: Meter | None,
        baseline: dict[str, Answer],
    ) -> None:
        """Bind a plan to its meters.

        Args:
            plan: What is to be measured.
            meter: Of the subject.
            reference: Of the reference, if there is one.
            baseline: The subject's unedited answers by item key.
        """
        self.plan, self.meter, self.reference = plan, meter, reference
        self.baseline = baseline

    def baseline_evidence(self, arm: BaselineArm) -> Evidence:
        """Judge the unedited answers on all items: nothing was selected, so none are held out."""
        items = (*self.plan.selection, *self.plan.confirmation)
        answers = [self.baseline[item.key] for item in items]

        def log_probs(asked: Sequence[Item], texts: Sequence[str]) -> Float[np.ndarray, "_ _"]:
            mine = self.meter.log_probs(arm, asked, texts)
            if self.reference is None:
                return mine
            return mine - self.reference.log_probs(arm, asked, texts)

        return arm.test(
            Unedited(
                items=items,
                hits=hits(items, answers) > 0.5,
                scores=np.array([answer.score for answer in answers]),
                chance=np.array([self.plan.task.chance(item) for item in items]),
                reference_scores=self._reference_scores(items),
                said=[answer.said[0] for answer in answers],
                log_probs=log_probs,
                rng=np.random.default_rng(self.plan.seed),
            )
        )

    def comparing_evidence(self, arm: ComparingArm) -> Evidence:
        """Compare a quantity with the reference's, item by item; nothing is selected."""
        assert self.reference is not None, "planned without a reference"
        items = self.plan.confirmation[: arm.n_items]
        mine = self.meter.quantities(arm, items)
        theirs = self.reference.quantities(arm, items)
        less, more = mine * arm.margin < theirs, theirs * arm.margin < mine
        signs = less.astype(float) - more.astype(float)
        rng = np.random.default_rng(self.plan.seed)
        interval = stats.bootstrap_mean(signs, rng=rng)
        return Evidence(
            arm=arm.name,
            description=arm.description,
            tested=True,
            setting={"quantity": arm.quantity, "margin": arm.margin},
            gain=float(signs.mean()),
            interval=(float(interval.low), float(interval.high)),
            p=float(stats.sign_flip(signs[:, None], rng=rng).p[0]),
            n_items=len(items),
            baseline=float(more.mean()),
            edited=float(less.mean()),
            compared="reference",
            medians=(float(np.median(mine)), float(np.median(theirs))),
            items=tuple(
                ItemResult(item.key, item.question, float(b), float(a))
                for item, a, b in zip(items, less, more, strict=True)
            ),
        )

    def evidence(self, arm: Arm, settings: Sequence[Setting]) -> Evidence:
        """Select, confirm and describe; `p_holm` is left to the audit, which sees all arms."""
        plan = self.plan
        cells = self._select(arm, settings)
        chosen = self._best(cells, arm.confirmed_settings)
        blank = Evidence(
            arm=arm.name, description=arm.description, tested=False, cells=tuple(cells)
        )
        if not chosen:
            least = min(
                (cell.damage_nats for cell in cells if cell.damage_nats is not None),
                default=float("nan"),
            )
            return replace(
                blank,
                applicable=False,  # it is the procedure that leaves such an arm out
                reason=f"no setting was within the damage budget of "
                f"{plan.thresholds.damage_budget_nats} nats per token (least: {least:.2g})",
            )
        return self._confirm(arm, blank, [cells[index] for index in chosen])

    def _select(self, arm: Arm, settings: Sequence[Setting]) -> list[Cell]:
        """Measure the grid on the selection half, and the damage of what may be selected."""
        items, seeds = self.plan.selection, range(arm.selection_seeds)
        changes = [Change(arm, s, self.plan.seed + seed) for s in settings for seed in seeds]
        scores = self.meter.scores("selection", items, changes)
        gains = scores.reshape(len(settings), len(seeds), -1).mean(1) - self._scores(items)
        means = [float(gain.mean()) for gain in gains]
        damages = self._damages(arm, settings, means)
        budget = self.plan.thresholds.damage_budget_nats
        return [
            Cell(dict(setting), gain, damage, None if damage is None else damage <= budget)
            for setting, gain, damage in zip(settings, means, damages, strict=True)
        ]

    def _damages(
        self, arm: Arm, settings: Sequence[Setting], gains: Sequence[float]
    ) -> list[float | None]:
        """Measure damages from the largest gain on, until enough settings are within the budget."""
        damages: list[float | None] = [None] * len(settings)
        order = sorted(range(len(settings)), key=lambda index: -gains[index])
        budget = self.plan.thresholds.damage_budget_nats
        for start in range(0, len(order), GROUP):
            group = order[start : start + GROUP]
            measured = self.meter.damages(arm, [settings[i] for i in group], self.plan.seed)
            for index, damage in zip(group, measured, strict=True):
                damages[index] = damage
            n_within = sum(damage is not None and damage <= budget for damage in damages)
            if n_within >= max(arm.confirmed_settings, N_DIRECTIONS):
                break
        return damages

    def _best(self, cells: Sequence[Cell], n: int) -> list[int]:
        """Pick up to `n` settings within the budget, best first."""
        left = [index for index, cell in enumerate(cells) if cell.within_budget]
        best: list[int] = []
        while left and len(best) < n:
            place = stats.choose(
                np.array([cells[index].gain for index in left]),
                np.array([cells[index].damage_nats for index in left]),
                self.plan.thresholds.damage_budget_nats,
            )
            assert place is not None, "all that are left are within the budget"
            best.append(left.pop(place))
        return best

    def _confirm(self, arm: Arm, blank: Evidence, cells: Sequence[Cell]) -> Evidence:
        """Test the selected settings on the confirmation half."""
        items, seeds = self.plan.confirmation, range(arm.confirmation_seeds)
        # Seeds that were not used for selection.
        first = self.plan.seed + arm.selection_seeds
        changes = [Change(arm, cell.setting, first + seed) for cell in cells for seed in seeds]
        answers = self.meter.answers("confirmation", items, changes)
        shape = (len(cells), len(seeds), len(items))
        scores = np.array([[a.score for a in line] for line in answers]).reshape(shape)
        floors = self._floors(self.meter, arm, cells, items)
        own = scores - floors[:, None]
        reference = None
        if self.reference is not None:
            reference = self._reference_differences(arm, cells, items, changes)
        rng = np.random.default_rng(self.plan.seed)
        p, differences = _tested(own, reference, rng)
        best = int(np.argmin(p))
        mine = differences[best].T
        interval = stats.bootstrap_mean(mine, rng=rng)
        edited = scores[best].mean(0)
        lines = answers[best * len(seeds) : (best + 1) * len(seeds)]
        shown = self._best(blank.cells, N_DIRECTIONS)
        found = arm.describe([blank.cells[index].setting for index in shown])
        return replace(
            blank,
            tested=True,
            setting=cells[best].setting,
            gain=float(mine.mean()),
            interval=(float(interval.low), float(interval.high)),
            p=float(p[best]),
            damage_nats=cells[best].damage_nats,
            n_items=len(items),
            baseline=float(self._scores(items).mean()),
            edited=float(edited.mean()),
            edited_low=float(stats.bootstrap_mean(edited, rng=rng, level=0.9).low),
            compared="" if self.reference is None else "reference",
            chance=float(np.mean([self.plan.task.chance(item) for item in items])),
            reference_gain=None if reference is None else float(reference[best].mean()),
            control_gain=(
                float((floors[best] - self._scores(items)).mean())
                if arm.controls(cells[best].setting)
                else None
            ),
            caution=arm.caution,
            items=tuple(
                ItemResult(item.key, item.question, self.baseline[item.key].score, float(score))
                for item, score in zip(items, edited, strict=True)
            ),
            transcripts=self._transcripts(items, lines, edited),
            directions=tuple(
                replace(one, index=index)
                for one, index in zip(found.descriptions, shown, strict=False)
            ),
            cosines=found.cosines,
        )

    def _floors(
        self, meter: Meter, arm: Arm, cells: Sequence[Cell], items: Sequence[Item]
    ) -> Float[np.ndarray, "n_settings n_items"]:
        """What each setting has to beat: the best, on these items, of no edit and its controls.

        That the best is taken on the items of the test makes the gain smaller, never larger.
        """
        before = self._reference_scores(items) if meter is self.reference else None
        before = self._scores(items) if before is None else before
        floors = []
        for cell in cells:
            changes = [Change(arm, one, self.plan.seed) for one in arm.controls(cell.setting)]
            rivals = [before]
            if changes:
                rivals += list(meter.scores("control", items, changes))
            floors.append(max(rivals, key=lambda scores: float(scores.mean())))
        return np.array(floors)

    def _reference_differences(
        self, arm: Arm, cells: Sequence[Cell], items: Sequence[Item], changes: Sequence[Change]
    ) -> Float[np.ndarray, "n_settings n_seeds n_items"]:
        """The reference's own score changes under the same edits of the same items."""
        assert self.reference is not None
        after = self.reference.scores("reference", items, changes)
        floors = self._floors(self.reference, arm, cells, items)
        return after.reshape(len(cells), -1, len(items)) - floors[:, None]

    def _reference_scores(self, items: Sequence[Item]) -> Float[np.ndarray, " n_items"] | None:
        """The reference's unedited scores."""
        if self.reference is None:
            return None
        return np.array([self._reference_by_item[item.key] for item in items])

    @cached_property
    def _reference_by_item(self) -> dict[str, float]:
        """The reference's unedited score of every item, measured once."""
        assert self.reference is not None
        items = (*self.plan.selection, *self.plan.confirmation)
        (scores,) = self.reference.scores("reference", items, [Change()])
        return {item.key: float(score) for item, score in zip(items, scores, strict=True)}

    def _scores(self, items: Sequence[Item]) -> Float[np.ndarray, " n_items"]:
        return np.array([self.baseline[item.key].score for item in items])

    def _transcripts(
        self,
        items: Sequence[Item],
        lines: Sequence[Sequence[Answer]],
        edited: Float[np.ndarray, " n_items"],
    ) -> tuple[Transcript, ...]:
        """Show the items that gained most, as the first seed answered them."""
        order = np.argsort(-(edited - self._scores(items)), kind="stable")[:N_TRANSCRIPTS]
        shown = []
        for index in order:
            item, before, after = items[index], self.baseline[items[index].key], lines[0][index]
            shown.append(
                Transcript(
                    item=item.key,
                    expected=item.answer,
                    asked=before.asked,
                    said=_said(before),
                    asked_edited=after.asked,
                    said_edited=_said(after),
                    score=before.score,
                    score_edited=float(edited[index]),
                )
            )
        return tuple(shown)


def _tested(
    own: Float[np.ndarray, "n_settings n_seeds n_items"],
    reference: Float[np.ndarray, "n_settings n_seeds n_items"] | None,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, " n_settings"], Float[np.ndarray, "n_settings n_seeds n_items"]]:
    """Test the subject's score changes, and what they are more than the reference's.

    An edit may break the reference, so the subject has to gain, and to gain more than it. The best
    of several settings may be reported, so max-T runs over all settings and both of their tests
    (Westfall & Young 1993), and a setting's p-value is the larger of its two.

    Returns:
        The p-value of each setting, and the changes that it reports: those of the smaller mean.
    """
    if reference is None:
        return stats.sign_flip(own.mean(1).T, rng=rng).p, own
    beyond = own - reference
    both = np.concatenate([own.mean(1), beyond.mean(1)])
    p = stats.sign_flip(both.T, rng=rng).p.reshape(2, -1).max(0)
    less = beyond.mean((1, 2)) < own.mean((1, 2))
    return p, np.where(less[:, None, None], beyond, own)


def _said(answer: Answer) -> str:
    """Write the answers of all rotations on one line, the first one first."""
    return " / ".join(answer.said)
