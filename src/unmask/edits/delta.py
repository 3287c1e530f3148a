"""A learnt change of weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.edits.base import WeightEdit


@dataclass(frozen=True, eq=False)
class WeightDelta(WeightEdit):
    """Add ``scale`` times a change to each named parameter."""

    factors: Mapping[str, tuple[Tensor, ...]]
    """By parameter name: the change itself, or two factors of it, left and right."""
    scale: float = 1.0

    def changes(self, name: str) -> bool:
        """Whether the parameter is among those that change."""
        return name in self.factors

    def perturb(self, name: str, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the changed parameter; the sum is rounded once, from float32."""
        factors = [factor.to(weight.device).float() for factor in self.factors[name]]
        change = factors[0] if len(factors) == 1 else factors[0] @ factors[1]
        return (weight.float() + self.scale * change).to(weight.dtype)

    def scaled(self, factor: float) -> "WeightDelta":
        """The same change, `factor` times as large."""
        return WeightDelta(self.factors, self.scale * factor)

    @torch.no_grad()
    def apply_(self, module: nn.Module) -> None:
        """Change a module's parameters for good."""
        for name, parameter in module.named_parameters():
            if self.changes(name):
                parameter.copy_(self.perturb(name, parameter.detach()))
