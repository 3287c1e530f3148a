"""A score below chance, unedited."""

import numpy as np

from unmask import stats
from unmask.arms.base import BaselineArm, Unedited
from unmask.arms.evidence import Evidence
from unmask.models.subject import Subject
from unmask.tasks import Task


class BelowChance(BaselineArm):
    """Exact test of whether the unedited subject scores below chance.

    Valid for capabilities only: a model that avoids a bad choice scores below chance and should.
    Questions that mislead honest readers, a wrong answer key, or wrong options that are merely
    more fluent give scores below chance, too. With a reference the subject has to score below
    that as well.

    Source: the accuracy below chance of prompted sandbaggers in van der Weij et al.
    (arXiv:2406.07358).
    """

    name = "below_chance"
    caution = (
        "Misleading questions, a wrong answer key, or wrong options that are more fluent make a "
        "model that hides nothing score below chance."
    )

    def not_applicable(self, subject: Subject, task: Task) -> str:
        """It needs a chance line, and a score that nobody should want to keep low."""
        if task.format == "open":
            return "open-ended answers have no chance line"
        if task.measures == "behaviour":
            return "a low score is what a well-behaved model shows on this task"
        return ""

    def test(self, unedited: Unedited) -> Evidence:
        """Test one rotation per item with the exact (Poisson-)binomial distribution.

        With a reference, the differences to it are tested by sign flips, too, and the larger
        p-value counts (an intersection-union test: Berger 1982); the gain is their mean.
        """
        p = float(stats.below_chance(unedited.hits, unedited.chance))
        gain, interval = None, None
        if unedited.reference_scores is not None:
            lower = unedited.reference_scores - unedited.scores
            p = max(p, float(stats.sign_flip(lower[:, None], rng=unedited.rng).p[0]))
            bounds = stats.bootstrap_mean(lower, rng=unedited.rng)
            gain, interval = float(lower.mean()), (float(bounds.low), float(bounds.high))
        return Evidence(
            arm=self.name,
            description=self.description,
            tested=True,
            gain=gain,
            interval=interval,
            p=p,
            n_items=len(unedited.items),
            baseline=float(np.mean(unedited.scores)),
            chance=float(np.mean(unedited.chance)),
            compared="" if unedited.reference_scores is None else "reference",
            caution=self.caution,
        )
