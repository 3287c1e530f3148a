"""Steering vectors found without labels: what else could the model do with these prompts?"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.arms.base import Arm, DirectionMap, Setting, no_replay
from unmask.edits import Edit, Positions
from unmask.manifold import Gaussian
from unmask.models.batch import TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.steering import (
    Bound,
    Melbo,
    Response,
    Search,
    Within,
    fit_density,
    typical_norm,
)
from unmask.steering.describe import describe, similarities
from unmask.tasks import Item, Task, row
from unmask.tasks.damage import neutral_texts

N_PROMPTS = 16
"""Prompts over which directions are searched for."""
N_CONTINUED, N_NEW_TOKENS = 2, 24
"""Prompts that are shown continued under each direction, and by how much."""


class LatentDirections(Arm):
    """Steering vectors that change a later block most, found without labels.

    The search (MELBO, batched) reads prompts of the selection half and never their answers. Every
    vector is then a setting: the frame picks among them on the selection half, within the damage
    budget, and tests the best on the confirmation half. Vectors are added to the prompt's last
    token at a quarter of the depth (at all tokens they cost too much on neutral text), and the
    change is read at three quarters; lengths are relative to the stream's.

    Source: Mack & Turner (2024), "Mechanistically eliciting latent behaviors in language models".
    """

    name = "latent_directions"
    confirmed_settings = 2
    preparation = 6.0
    """A search for 16 vectors at one token of 16 prompts takes about as long as 100 items."""
    n_directions: ClassVar[int] = 16
    radii: Sequence[float] = (0.35, 0.5, 0.7)
    positions: Positions = "last"
    within: Within = "l2"
    search: Search = Melbo(n_vectors=n_directions)

    def __init__(self) -> None:
        """Start without vectors; they are searched for when the first of them is needed."""
        self._texts: list[Row] = []
        self._rows: list[TokenRow] = []
        self._subject: Subject | None = None
        self._bound: Bound | None = None
        self._found: dict[float, Float[Tensor, "vectors d_model"]] = {}

    def not_applicable(self, subject: Subject, task: Task) -> str:
        """It searches through single blocks."""
        return no_replay(subject)

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
        return max(source + 1, subject.n_layers - subject.n_layers // 4)

    def fit(self, subject: Subject, task: Task, items: Sequence[Item]) -> None:
        """Take note of the prompts that come first by hash."""
        ordered = sorted(items, key=lambda item: item.key)
        asked = [row(task.prompts(item)[0], subject.tokenizer, subject.chat) for item in ordered]
        self._texts = asked
        self._rows = [TokenRow(subject.encode(a.text, templated=a.templated)) for a in asked]
        self._subject, self._bound, self._found = subject, None, {}

    def edits(self, setting: Setting, seed: int) -> Edit:
        """Add the vector."""
        vector = self.vectors(setting["scale"])[setting["direction"]]
        return self.bound.edit(setting["layer"], vector, self.positions)

    @property
    def bound(self) -> Bound:
        """What the vectors are held to, by activations on the prompts and on neutral text."""
        if self._bound is None:
            density = density_of(self.subject, self._rows, self.source(self.subject))
            self._bound = Bound(self.within, density)
        return self._bound

    @property
    def subject(self) -> Subject:
        """The model that was searched."""
        assert self._subject is not None, "`fit` comes before `edits`"
        return self._subject

    def vectors(self, scale: float) -> Float[Tensor, "vectors d_model"]:
        """The vectors whose length is so many times the stream's, searched for once."""
        if scale not in self._found:
            response = self.bound.response(*self._where(), positions=self.positions)
            radius = self.bound.radius(scale * typical_norm(response))
            self._found[scale] = self.search(response, radius).cpu()
        return self._found[scale]

    def describe(self, settings: Sequence[Setting]) -> DirectionMap:
        """Describe the vectors behind some settings, and continue two prompts under each."""
        subject = self.subject
        response = Response(*self._where(), positions=self.positions)
        vectors = torch.stack([self.vectors(s["scale"])[s["direction"]] for s in settings])
        vectors = vectors.to(response.device)
        found = describe(
            subject,
            self._rows[:N_PROMPTS],
            response,
            vectors,
            edits=[self.edits(setting, 0) for setting in settings],
            percentile=self.bound.density.percentile,
            rows=self._texts[:N_CONTINUED],
            max_new_tokens=N_NEW_TOKENS,
        )
        cosines = similarities(response, vectors).tolist()
        return DirectionMap(tuple(found), tuple(tuple(line) for line in cosines))

    def _where(self) -> tuple[Subject, list[TokenRow], int, int]:
        subject = self.subject
        return subject, self._rows[:N_PROMPTS], self.source(subject), self.target(subject)


def density_of(subject: Subject, rows: Sequence[TokenRow], layer: int) -> Gaussian:
    """Fit a density to what enters a block, on neutral text and on prompts."""
    texts = [subject.encode(a + b)[: subject.n_ctx] for a, b in neutral_texts()]
    return fit_density(subject, [*map(TokenRow, texts), *rows], layer)
