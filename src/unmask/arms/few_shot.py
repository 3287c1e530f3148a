"""Solved examples before the question."""

from collections.abc import Iterable, Sequence

from unmask.arms.base import Arm, Setting
from unmask.models.subject import Subject
from unmask.tasks import Item, Prompt, Task


class FewShot(Arm):
    """Correctly solved examples before the question.

    The examples come from the selection half and are never the item itself, so the confirmation
    half stays unseen.

    Source: N-shot elicitation in Hofstaetter et al. (2025), arXiv:2502.02180.
    """

    name = "few_shot"
    confirmed_settings = 2
    shots = (1, 3, 5)

    def __init__(self) -> None:
        """Start without examples; `fit` chooses them."""
        self._examples: list[tuple[Prompt, str]] = []

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Numbers of examples."""
        for shots in self.shots:
            yield {"shots": shots}

    def fit(self, subject: Subject, task: Task, items: Sequence[Item]) -> None:
        """Take the examples that come first by hash, each in another rotation."""
        chosen = sorted(items, key=lambda item: item.key)[: max(self.shots) + 1]
        self._examples = []
        for number, item in enumerate(chosen):
            prompts = task.prompts(item)
            prompt = prompts[number % len(prompts)]
            answer = prompt.choices[prompt.target] if prompt.choices else item.answer
            self._examples.append((prompt, answer))

    def ask(self, prompt: Prompt, setting: Setting) -> Prompt:
        """Put the examples first."""
        others = [shot for shot in self._examples if shot[0].item.key != prompt.item.key]
        return prompt.with_(shots=tuple(others[: setting["shots"]]))
