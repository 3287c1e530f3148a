"""Steering vectors found without labels: what else could the model do with these prompts?"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unmask.arms.base import Arm, Setting
from unmask.edits import Edit, Positions
from unmask.models.batch import TokenRow
from unmask.models.subject import Subject
from unmask.steering import Bound, Melbo, Search, Within, fit_density, typical_norm
from unmask.tasks import Item, Task, row
from unmask.tasks.damage import neutral_texts

N_PROMPTS = 16
"""Prompts over which directions are searched for."""


class LatentDirections(Arm):
    """Steering vectors that change a later block most, found without labels.

    The search (MELBO, batched) reads prompts of the selection half and never their answers. Every
    vector is then a setting: the frame picks among them on the selection half, within the damage
    budget, and tests the best on the confirmation half. Vectors are added at a quarter of the
    depth, and the change is read at two thirds; lengths are relative to the stream's.

    Source: Mack & Turner (2024), "Mechanistically eliciting latent behaviors in language models".
    """

    name = "latent_directions"
    confirmed_settings = 2
    n_directions: ClassVar[int] = 16
    radii: Sequence[float] = (0.25,)
    positions: Positions = "all"
    within: Within = "l2"
    search: Search = Melbo(n_vectors=n_directions)

    def __init__(self) -> None:
        """Start without vectors; they are searched for when the first of them is needed."""
        self._rows: list[TokenRow] = []
        self._subject: Subject | None = None
        self._bound: Bound | None = None
        self._found: dict[float, Float[Tensor, "vectors d_model"]] = {}

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Radius by vector."""
        for radius in self.radii:
            for direction in range(self.n_directions):
                yield {"layer": self.source(subject), "scale": radius, "direction": direction}

    @staticmethod
    def source(subject: Subject) -> int:
        """The block whose input is changed."""
        return min(max(1, subject.n_layers // 4), subject.n_layers - 1)

    @staticmethod
    def target(subject: Subject) -> int:
        """The block at whose input the change is read."""
        source = LatentDirections.source(subject)
        return min(max(source + 1, subject.n_layers * 2 // 3), subject.n_layers)

    def fit(self, subject: Subject, task: Task, items: Sequence[Item]) -> None:
        """Take note of the prompts that come first by hash."""
        asked = [row(task.prompts(item)[0], subject.tokenizer, subject.chat) for item in items]
        ordered = sorted(zip(items, asked, strict=True), key=lambda pair: pair[0].key)
        self._rows = [
            TokenRow(subject.encode(one.text, templated=one.templated)) for _, one in ordered
        ]
        self._subject, self._bound, self._found = subject, None, {}

    def edits(self, setting: Setting, seed: int) -> Edit:
        """Add the vector."""
        vector = self.vectors(setting["scale"])[setting["direction"]]
        return self.bound.edit(setting["layer"], vector, self.positions)

    @property
    def bound(self) -> Bound:
        """What the vectors are held to, by activations on the prompts and on neutral text."""
        if self._bound is None:
            subject = self.subject
            texts = [subject.encode(a + b)[: subject.n_ctx] for a, b in neutral_texts()]
            rows = [*map(TokenRow, texts), *self._rows]
            self._bound = Bound(self.within, fit_density(subject, rows, self.source(subject)))
        return self._bound

    @property
    def subject(self) -> Subject:
        """The model that was searched."""
        assert self._subject is not None, "`fit` comes before `edits`"
        return self._subject

    def vectors(self, scale: float) -> Float[Tensor, "vectors d_model"]:
        """The vectors whose length is so many times the stream's, searched for once."""
        if scale not in self._found:
            subject = self.subject
            response = self.bound.response(
                subject,
                self._rows[:N_PROMPTS],
                self.source(subject),
                self.target(subject),
                positions=self.positions,
            )
            radius = self.bound.radius(scale * typical_norm(response))
            self._found[scale] = self.search(response, radius).cpu()
        return self._found[scale]
