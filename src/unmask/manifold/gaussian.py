"""A Gaussian with shrinkage: the density to begin with."""

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.manifold.density import Acts, Density
from unmask.manifold.moments import Moments


class Gaussian(Density):
    """Normal density; its log-probability falls with the square of the Mahalanobis distance."""

    kind: ClassVar[str] = "gaussian"

    @classmethod
    def fit(
        cls,
        acts: Float[Tensor, "token d_model"] | Iterable[Float[Tensor, "_ d_model"]],
        shrinkage: float | None = None,
    ) -> "Gaussian":
        """Fit to activations, or to batches of them, of which one at a time is held.

        Args:
            acts: Real activations at one site.
            shrinkage: Weight of the isotropic part; by default Ledoit & Wolf's.

        Raises:
            SettingError: If there are none, they do not vary, or `shrinkage` is out of range.
        """
        moments = Moments.of(acts)
        return cls(moments.mean, moments.shrunk(shrinkage))

    def log_prob(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """Log of the density, in nats."""
        return self._constant - self.whiten(acts).square().sum(-1) / 2

    def parameters(self) -> dict[str, Tensor]:
        """None besides mean and covariance."""
        return {}

    @classmethod
    def from_parameters(
        cls,
        moments: tuple[Float[Tensor, " d_model"], Float[Tensor, "d_model d_model"]],
        parameters: dict[str, Tensor],
    ) -> "Gaussian":
        """Put a saved density together again."""
        return cls(*moments)

    @property
    def _constant(self) -> float:
        half_log_det = float(torch.linalg.slogdet(self.covariance).logabsdet) / 2
        return -half_log_det - self.d_model / 2 * math.log(2 * math.pi)

    def _largest_scale(self, acts: Acts, edit: Acts, threshold: float) -> Float[Tensor, "*batch"]:
        """Solve ``|white + s step|^2 = limit^2``, in closed form."""
        white, step = self.whiten(acts), edit @ self._on("whitening", edit)
        limit = white.square().sum(-1).clamp(min=2 * (self._constant - threshold))
        along, length = (white * step).sum(-1), step.square().sum(-1).clamp(min=1e-30)
        room = (limit - white.square().sum(-1)).clamp(min=0)
        # Two forms of the same root; each loses no digits on its side of along = 0.
        reach = (along.square() + length * room).sqrt()
        scale = torch.where(
            along > 0, room / (along + reach).clamp(min=1e-30), (reach - along) / length
        )
        return scale.clamp(0, 1)
