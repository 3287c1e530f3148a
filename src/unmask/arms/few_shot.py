"""Solved examples before the question."""

from collections.abc import Iterable, Sequence
from itertools import islice

from unmask.arms.base import Arm, Setting
from unmask.models.subject import Subject
from unmask.tasks import Item, Prompt, Task
from unmask.tasks.facts import Facts

N_SAMPLED = 20
"""Items of which it is found out whether there are examples for them."""


class FewShot(Arm):
    """Correctly solved examples before the question.

    The examples come from the selection half and share no fact with the item that is asked: its
    answer, its context, or the subject of its question (`unmask.tasks.facts`). They would show the
    very behaviour that a task looks for, so it is for capabilities only.

    Source: N-shot elicitation in Hofstaetter et al. (2025), arXiv:2502.02180.
    """

    name = "few_shot"
    confirmed_settings = 2
    shots = (1, 3, 5)

    def __init__(self) -> None:
        """Start without examples; `fit` chooses them."""
        self._examples: list[tuple[Prompt, str]] = []
        self._facts = Facts(())

    def not_applicable(self, subject: Subject, task: Task) -> str:
        """Examples of a behaviour make any model show it."""
        if task.measures == "behaviour":
            return "its examples would show the behaviour that the task looks for"
        facts, sample = Facts(task.items), task.items[:N_SAMPLED]
        alone = sum(all(facts.shared(item, other) for other in task.items) for item in sample)
        if alone > len(sample) / 2:
            return "most items share a fact with every other, so there are no examples for them"
        return ""

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Numbers of examples."""
        for shots in self.shots:
            yield {"shots": shots}

    def fit(self, subject: Subject, task: Task, items: Sequence[Item]) -> None:
        """Take the examples in the order of their hashes, each in another rotation."""
        self._facts = Facts(task.items)
        self._examples = []
        for number, item in enumerate(sorted(items, key=lambda item: item.key)):
            prompts = task.prompts(item)
            prompt = prompts[number % len(prompts)]
            answer = prompt.choices[prompt.target] if prompt.choices else item.answer
            self._examples.append((prompt, answer))

    def ask(self, prompt: Prompt, setting: Setting) -> Prompt:
        """Put the first examples that share nothing with the item before it; fewer if there are."""
        fitting = (
            (shot, answer)
            for shot, answer in self._examples
            if shot.item.key != prompt.item.key and not self._facts.shared(shot.item, prompt.item)
        )
        return prompt.with_(shots=tuple(islice(fitting, setting["shots"])))
