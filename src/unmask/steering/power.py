"""Power steering: the directions to which a later block is most sensitive, to first order.

Source: Obayyub (2026), "Power steering": block power iteration for the top right singular vectors
of the Jacobian J from one block to the last tokens at a later one; several prompts add their J^T J.
The published code runs the whole model for each vector and iteration, and orthogonalises by
Gram-Schmidt, which QR does here for all vectors at once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.steering.melbo import check_radius
from unmask.steering.response import Response, Vectors
from unmask.steering.spheres import orthonormal, random_units


@dataclass(frozen=True)
class PowerSteering:
    """The search's settings."""

    n_vectors: int = 12
    n_steps: int = 15
    """Published: 5 to 15."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.n_vectors > 0 and self.n_steps > 0):
            raise SettingError(
                "expected at least one vector and one step, got "
                f"{self.n_vectors} and {self.n_steps}. The defaults are "
                f"{PowerSteering.n_vectors} and {PowerSteering.n_steps}."
            )

    def __call__(self, response: Response, radius: float) -> Vectors:
        """Search; returns orthogonal vectors of length `radius`, most sensitive first.

        Args:
            response: What vectors change, where and on which prompts.
            radius: Length of the vectors; it has no part in the search.

        Raises:
            SettingError: If more vectors are asked for than the stream is wide.
        """
        check_radius(radius)
        return response.added(radius * self.singular(response)[0])

    def singular(self, response: Response) -> tuple[Vectors, Float[Tensor, " vectors"]]:
        """Right singular vectors and singular values of the Jacobian, largest first."""
        if self.n_vectors > response.d_model:
            raise SettingError(
                f"expected at most {response.d_model} vectors (the width of the stream), got "
                f"{self.n_vectors}. They are orthogonal; ask for fewer."
            )
        vectors = orthonormal(
            random_units(self.n_vectors, response.d_model, self.seed, response.device)
        )
        for _ in range(self.n_steps):
            vectors = orthonormal(squared(response, vectors))
        # In the subspace that was found, the singular vectors themselves (Rayleigh-Ritz).
        inner = vectors @ squared(response, vectors).T
        values, turn = torch.linalg.eigh((inner + inner.T) / 2)
        order = values.argsort(descending=True)
        return turn.T[order] @ vectors, values[order].clamp(min=0).sqrt()


def squared(response: Response, vectors: Vectors) -> Vectors:
    """``J^T J v`` for each vector, summed over prompts and tokens read."""
    moved = response.linear(vectors)
    zeros = torch.zeros_like(vectors)
    _, gradients = response.gradients(
        zeros, lambda changes, part: (changes * moved[part]).sum((1, 2, 3))
    )
    return gradients
