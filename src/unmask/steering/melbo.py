"""MELBO: vectors of a given length that change a later block most.

Source: Mack & Turner (2024), "Mechanistically eliciting latent behaviors in language models".

Where we differ from the published code: all vectors are searched for together, on the blocks
between only and on several prompts; the norm is taken over the stream at each token, as in the
text, where the code takes it over the tokens for each channel (``norm_over="tokens"``; the two are
the same for p = 2); the learning rate follows the radius; and vectors may be kept orthogonal to
each other all at once.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.steering.response import Changes, Response, Vectors
from unmask.steering.spheres import nearest_orthonormal, random_units, tangent, units, without

Apart = Literal["no", "in turn", "together"]
"""How vectors are kept orthogonal: not at all; each to those found before it, as published; or all
of them at once, which runs as one batch."""


@dataclass(frozen=True)
class Melbo:
    """The search's settings; the defaults suit tens of steps."""

    n_vectors: int = 32
    n_steps: int = 25
    """Published: 300 to 1,200."""
    p: float = 2.0
    q: float | None = None
    """By default p."""
    norm_over: Literal["stream", "tokens"] = "stream"
    apart: Apart = "no"
    learning_rate: float | None = None
    """Adam's, in units of the stream; by default a tenth of a component's typical size,
    ``radius / sqrt(d_model)``. Published: 0.001."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.n_vectors > 0 and self.n_steps > 0 and self.p >= 1 and (self.q or 1) > 0):
            raise SettingError(
                "expected at least one vector, one step, p of at least 1 and q above 0, got "
                f"{self.n_vectors}, {self.n_steps}, {self.p} and {self.q}. The defaults are "
                f"{Melbo.n_vectors}, {Melbo.n_steps}, {Melbo.p} and q = p."
            )

    def __call__(self, response: Response, radius: float) -> Vectors:
        """Search.

        Args:
            response: What vectors change, where and on which prompts.
            radius: Length of the vectors, in units of the stream (of `response`'s coordinates).

        Returns:
            The vectors, in the order of their starting points; as `response.added` gives them.

        Raises:
            SettingError: If orthogonal vectors are asked for in a greater number than there are.
        """
        check_radius(radius)
        if self.apart != "no" and self.n_vectors > response.d_model:
            raise SettingError(
                f"expected at most {response.d_model} orthogonal vectors (the width of the "
                f'stream), got {self.n_vectors}. Ask for fewer, or for apart="no".'
            )
        start = random_units(self.n_vectors, response.d_model, self.seed, response.device)
        if self.apart != "in turn":
            return response.added(self._ascend(response, radius, start, start[:0]))
        found = start[:0]
        for one in start:
            new = units(self._ascend(response, radius, one[None], found))
            found = torch.cat([found, new])
        return response.added(radius * found)

    def score(self, changes: Changes) -> Float[Tensor, " vectors"]:
        """Score changes: mean over prompts of ``(sum over tokens of |change|^p)^(1/q)``."""
        lengths = changes.norm(dim=-1 if self.norm_over == "stream" else -2)
        return lengths.pow(self.p).sum(-1).pow(1 / (self.q or self.p)).mean(1)

    def _ascend(
        self,
        response: Response,
        radius: float,
        start: Vectors,
        others: Float[Tensor, "others d_model"],
    ) -> Vectors:
        """Climb on the sphere from some starting points, away from vectors found before."""

        def back(vectors: Vectors) -> Vectors:
            vectors = without(vectors, others)
            vectors = nearest_orthonormal(vectors) if self.apart == "together" else units(vectors)
            return radius * vectors

        vectors = back(start).requires_grad_()
        rate = self.learning_rate or 0.1 * radius / response.d_model**0.5
        adam = torch.optim.AdamW(
            [vectors], lr=rate, betas=(0.9, 0.98), weight_decay=0.0, amsgrad=True
        )
        for _ in range(self.n_steps):
            _, gradients = response.gradients(vectors, lambda changes, _: self.score(changes))
            vectors.grad = -without(tangent(gradients, vectors.detach()), others)
            adam.step()
            with torch.no_grad():
                vectors.copy_(back(vectors))
        return vectors.detach()


def check_radius(radius: float) -> None:
    """Check that a radius is a positive number.

    Raises:
        SettingError: If it is not.
    """
    if not 0 < radius < float("inf"):
        raise SettingError(
            f"expected a radius above 0, got {radius}. It is the length of the vectors in units "
            'of the stream; "plateau" and "dct" measure a fitting one.'
        )
