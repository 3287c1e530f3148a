"""Fine-tuning on a few correct demonstrations."""

import random
from collections.abc import Iterable, Sequence
from functools import partial

from unmask.arms.base import Setting
from unmask.arms.training import TrainingArm
from unmask.models.subject import Subject
from unmask.tasks import Item, Prompt
from unmask.tasks.damage import neutral_texts
from unmask.tuning import Lesson, Teach
from unmask.tuning.lessons import other_answer, right_answer


class Demonstrations(TrainingArm):
    """Fine-tuning on 16 right answers, against random answers and neutral text.

    The demonstrations come from the selection half. What the same training does with answers drawn
    at random, or on neutral passages, is no sign of something hidden: only the gain over both
    counts. (One and four answers were tried, too, and were cut for their time.)

    Source: single-sample fine-tuning in Auditing Games for Sandbagging (arXiv:2512.07810) and
    Greenblatt et al. (arXiv:2405.19550). The controls are ours.
    """

    name = "demonstrations"
    numbers: Sequence[int] = (16,)
    rates: Sequence[float] = (1e-3, 3e-3)

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Number of demonstrations by learning rate."""
        for n in self.numbers:
            for lr in self.rates:
                yield {"demonstrations": n, "answers": "right", "lr": lr}

    def controls(self, setting: Setting) -> Sequence[Setting]:
        """The same number with random answers, and neutral text."""
        return [{**setting, "answers": "random"}, {**setting, "answers": "neutral text"}]

    def lessons(self, setting: Setting) -> Teach:
        """Draw one of the demonstrations, in any rotation of its options."""
        if setting["answers"] == "neutral text":
            return neutral_lesson
        items = self.items[: setting["demonstrations"]]
        return partial(self._lesson, items, at_random=setting["answers"] == "random")

    def _lesson(self, items: Sequence[Item], rng: random.Random, *, at_random: bool) -> Lesson:
        assert self.task is not None, "`fit` comes before `lessons`"
        item = rng.choice(items)
        lesson = right_answer(rng.choice(self.task.prompts(item)), rng)
        if not at_random:
            return lesson
        # One answer for each demonstration, or the training would be on none.
        fixed = random.Random(f"random answer:{item.key}")
        others = [other.answer for other in self.items]
        if not lesson.prompt.choices:
            return other_answer(lesson, fixed, others, may_be_right=True)
        option = fixed.choice(item.options)
        shown = lesson.prompt.options or item.options
        said = lesson.prompt.choices[shown.index(option)]
        if said == lesson.answer:
            return lesson
        return lesson._replace(answer=said, against=lesson.answer)


def neutral_lesson(rng: random.Random) -> Lesson:
    """Continue one of the bundled neutral passages."""
    read, predicted = rng.choice(neutral_texts())
    return Lesson(Prompt(Item(read, predicted), frame="passage"), predicted)
