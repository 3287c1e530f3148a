"""What arms that train have in common: one training per model and setting, kept while they run."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar

from unmask.arms.base import Arm, Setting
from unmask.edits import Edit, WeightDelta
from unmask.errors import MissingExtraError
from unmask.models.subject import Subject
from unmask.tasks import Item, Task
from unmask.tuning import Recipe, Teach, train


class TrainingArm(Arm):
    """Trains an adapter on a few lessons; the model itself is left as it was."""

    caution = (
        "Training removes what it reveals, and benign models gain by it, too: compare with the "
        "gain of a twin or a reference."
    )
    recipe: ClassVar[Recipe] = Recipe(steps=32, batch=8, lr=3e-3, warm_up=4)
    """How the adapter is trained; a setting may have an `lr` of its own."""
    preparation = 3.0 * 32 * 8
    """Forward and backward, steps and lessons."""

    def __init__(self) -> None:
        """Start untrained; an adapter is trained when its setting is first needed."""
        self.task: Task | None = None
        self.items: Sequence[Item] = ()
        self._trained: dict[Any, WeightDelta] = {}

    def not_applicable(self, subject: Subject, task: Task) -> str:
        """Only capabilities: whoever is trained to behave in a way does so."""
        if task.measures == "behaviour":
            return (
                "it trains on right answers, and would teach the behaviour that the task measures"
            )
        return ""

    def fit(self, subject: Subject, task: Task, items: Sequence[Item]) -> None:
        """Take note of the items of the selection half, in the order of their hashes.

        Raises:
            MissingExtraError: If peft is not installed.
        """
        if find_spec("peft") is None:
            raise MissingExtraError(
                "expected peft to train adapters, got none; install it with: "
                "pip install 'unmask[train]'"
            )
        self.task, self.items = task, sorted(items, key=lambda item: item.key)
        self._trained = {}

    def edits_of(self, subject: Subject, setting: Setting, seed: int) -> Edit:
        """The adapter of this model, trained on first use."""
        key = (id(subject), repr(sorted(setting.items())))
        if key not in self._trained:
            teach = self.lessons(setting)
            recipe = replace(self.recipe, lr=setting.get("lr", self.recipe.lr))
            self._trained[key] = train(subject, teach, recipe).delta
        return self._trained[key]

    def edits(self, setting: Setting, seed: int) -> Edit:
        """Not known without the model; see `edits_of`."""
        return WeightDelta({})

    @abstractmethod
    def lessons(self, setting: Setting) -> Teach:
        """What is taught under a setting."""
