"""Edits along one direction: adding a vector, ablating a direction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits.base import ActivationEdit, widen
from unmask.edits.site import Site, Tokens
from unmask.errors import SettingError


@dataclass(frozen=True, eq=False)
class AddVector(ActivationEdit):
    """Add ``scale * vector`` to the activations at a site."""

    site: Site
    vector: Float[Tensor, " d_model"] = field(repr=False)
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check that what is added is finite."""
        if not (math.isfinite(self.scale) and torch.isfinite(self.vector).all()):
            raise SettingError(
                f"expected a finite vector and scale, got scale {self.scale} and a vector of norm "
                f"{self.vector.norm().item():.3g}. Check how the vector was computed."
            )

    @classmethod
    def stacked(cls, edits: Sequence[ActivationEdit]) -> ActivationEdit | None:
        """Add to each row its own vector."""
        mine = [edit for edit in edits if type(edit) is AddVector]
        if len(mine) < len(edits) or len({edit.site for edit in mine}) > 1:
            return None
        return _AddVectors(mine[0].site, torch.stack([e.scale * e.vector for e in mine]))

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Add the vector to every token."""
        wide = widen(acts)
        return wide + self.scale * _of_width(self.vector, wide)


@dataclass(frozen=True, eq=False)
class _AddVectors(ActivationEdit):
    """`AddVector` with a vector for each row."""

    site: Site
    vectors: Float[Tensor, "batch d_model"] = field(repr=False)

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        wide = widen(acts)
        return wide + _of_width(self.vectors, wide)[:, None]


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
        wide = widen(acts)
        direction = _of_width(self.direction, wide)
        unit = direction / direction.norm()
        return wide - (wide @ unit)[..., None] * unit


def _of_width(
    vector: Float[Tensor, "*rows width"], acts: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*rows d_model"]:
    if vector.shape[-1:] != acts.shape[-1:]:
        raise SettingError(
            f"expected a vector of length d_model = {acts.shape[-1]}, got shape "
            f"{tuple(vector.shape[-1:])}. It was probably made from another model."
        )
    return vector.to(acts)
