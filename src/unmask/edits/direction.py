"""Edits along one direction: adding a vector, ablating a direction."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits.base import ActivationEdit
from unmask.edits.site import Site, Tokens
from unmask.errors import SettingError


@dataclass(frozen=True, eq=False)
class AddVector(ActivationEdit):
    """Add ``scale * vector`` to the activations at a site."""

    site: Site
    vector: Float[Tensor, " d_model"] = field(repr=False)
    scale: float = 1.0

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Add the vector to every token."""
        return acts + self.scale * self.vector.to(acts)


@dataclass(frozen=True, eq=False)
class AblateDirection(ActivationEdit):
    """Remove the component along one direction: ``x - (x . u) u`` with u of unit length.

    Source: "directional ablation" in Arditi et al. (2024), arXiv:2406.11717.
    """

    site: Site
    direction: Float[Tensor, " d_model"] = field(repr=False)

    def __post_init__(self) -> None:
        """Check that the direction has a finite, non-zero length."""
        norm = self.direction.norm()
        if not (torch.isfinite(norm) and norm > 0):
            raise SettingError(
                f"expected a finite, non-zero direction, got norm {norm.item():.3g}. "
                "If it is a difference of means, check that the two sets differ."
            )

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Project every token onto the complement of the direction."""
        unit = (self.direction / self.direction.norm()).to(acts)
        return acts - (acts @ unit)[..., None] * unit
