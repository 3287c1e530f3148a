"""What all densities of activations share: rank among real activations, whitening, constraints."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError

Acts = Float[Tensor, "*batch d_model"]

N_GRID, N_HALVINGS = 16, 20


class Density(ABC):
    """How usual an activation is at a site, after a fit to real ones.

    Every density carries the mean and the (shrunk) covariance of what it was fitted to; distances
    and whitening are by these, log-probabilities by the density itself. Numbers are float32 (those
    of the fit float64); tensors given on another device move the density there.
    """

    kind: ClassVar[str]
    """Written into files."""

    def __init__(
        self,
        mean: Float[Tensor, " d_model"],
        covariance: Float[Tensor, "d_model d_model"],
    ) -> None:
        """Decompose the covariance.

        Raises:
            SettingError: If the covariance is not positive definite.
        """
        values, vectors = torch.linalg.eigh(covariance.double())
        if not values[0] > 0:
            raise SettingError(
                f"expected a positive definite covariance, got a smallest eigenvalue of "
                f"{values[0]:.3g}. There are fewer activations than dimensions, or some never "
                "vary; shrink more, or give more texts."
            )
        self.mean, self.covariance = mean.double(), covariance.double()
        root = values.sqrt()
        self._tensors: dict[str, Tensor] = {
            "mean": self.mean.float(),
            "whitening": ((vectors / root) @ vectors.T).float(),
            "colouring": ((vectors * root) @ vectors.T).float(),
        }
        self.held_out: Float[Tensor, " sample"] | None = None
        """Log-probabilities of real activations that the fit did not see, in ascending order."""

    @property
    def d_model(self) -> int:
        """Width of the activations."""
        return len(self.mean)

    @abstractmethod
    def log_prob(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """Log of the density, in nats; differentiable."""

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """What `from_parameters` needs besides mean and covariance, in order to save it."""

    @classmethod
    @abstractmethod
    def from_parameters(
        cls,
        moments: tuple[Float[Tensor, " d_model"], Float[Tensor, "d_model d_model"]],
        parameters: dict[str, Tensor],
    ) -> "Density":
        """Put a saved density together again."""

    def distance(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """Mahalanobis distance to the mean: length in standard deviations of the activations."""
        return self.whiten(acts).norm(dim=-1)

    def whiten(self, acts: Acts) -> Acts:
        """Map activations to mean 0 and unit covariance: ``C^(-1/2) (x - mean)``."""
        return (acts - self._on("mean", acts)) @ self._on("whitening", acts)

    def unwhiten(self, white: Acts) -> Acts:
        """Undo `whiten`."""
        return white @ self._on("colouring", white) + self._on("mean", white)

    @property
    def colouring(self) -> Float[Tensor, "d_model d_model"]:
        """``C^(1/2)``: takes whitened steps to steps in the stream, as `Response`'s basis does."""
        return self._tensors["colouring"]

    def calibrate(self, held_out: Float[Tensor, "token d_model"]) -> "Density":
        """Rank by real activations that the fit did not see.

        Raises:
            SettingError: If there are fewer than two.
        """
        if len(held_out) < 2:
            raise SettingError(
                f"expected at least two held-out activations, got {len(held_out)}. Percentiles are "
                "ranks among them; hold out some hundred tokens."
            )
        with torch.no_grad():
            self.held_out = self.log_prob(held_out).flatten().float().sort().values.cpu()
        return self

    def percentile(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """How unusual: the share of real activations that are more probable, in (0, 1).

        Uniform for a further real activation; near 1 off the manifold.

        Raises:
            SettingError: If the density is not calibrated.
        """
        ranks = self._ranks()
        with torch.no_grad():
            found = self.log_prob(acts).float().cpu().contiguous()
        below = torch.searchsorted(ranks, found, right=False)
        until = torch.searchsorted(ranks, found, right=True)
        less_probable = (below + until).float() / 2
        return 1 - (less_probable + 0.5) / (len(ranks) + 1)

    def threshold(self, quantile: float) -> float:
        """The log-probability that a share `quantile` of real activations exceeds.

        Raises:
            SettingError: If the share is not between 0 and 1, or the density is not calibrated.
        """
        if not 0 < quantile < 1:
            raise SettingError(
                f"expected a quantile between 0 and 1, got {quantile}. It is the share of real "
                "activations that count as usual; try 0.95."
            )
        return float(torch.quantile(self._ranks(), 1 - quantile))

    def constrain(self, acts: Acts, edit: Acts, quantile: float = 0.95) -> Acts:
        """Shorten edits until the edited activations are usual, each by a factor of its own.

        The factor s in [0, 1] is the largest such that every shorter edit is allowed, too: where
        ``log_prob(x + s edit)`` first falls below the threshold of `quantile`, or below
        ``log_prob(x)`` where the unedited activation is itself less usual than that.

        Args:
            acts: Unedited activations.
            edit: What is to be added to each.
            quantile: Share of real activations that count as usual.

        Returns:
            What may be added. Gradients flow through it with the factor held constant.
        """
        with torch.no_grad():
            scale = self._largest_scale(acts, edit, self.threshold(quantile))
        return edit * scale[..., None]

    def _largest_scale(self, acts: Acts, edit: Acts, threshold: float) -> Float[Tensor, "*batch"]:
        """Walk a grid to the first scale that is not allowed, then halve the step before it."""
        least = self.log_prob(acts).clamp(max=threshold)
        least = least - 1e-4 * least.abs().clamp(min=1)  # rounding must not forbid standing still

        def allowed(scale: Float[Tensor, "*batch"]) -> Tensor:
            return self.log_prob(acts + scale[..., None] * edit) >= least

        inside, going = torch.zeros_like(least), torch.ones_like(least, dtype=torch.bool)
        for step in range(1, N_GRID + 1):
            scale = torch.full_like(least, step / N_GRID)
            going = going & allowed(scale)
            inside = torch.where(going, scale, inside)
        outside = (inside + 1 / N_GRID).clamp(max=1)
        for _ in range(N_HALVINGS):
            middle = (inside + outside) / 2
            good = allowed(middle)
            inside = torch.where(good, middle, inside)
            outside = torch.where(good, outside, middle)
        return inside

    def _ranks(self) -> Float[Tensor, " sample"]:
        if self.held_out is None:
            raise SettingError(
                "expected a calibrated density, got one without held-out activations. Call "
                "`calibrate` with activations that the fit did not see."
            )
        return self.held_out

    def _on(self, name: str, like: Tensor) -> Tensor:
        """A constant on the device, and in the precision, of a tensor."""
        return self._tensors[name].to(like)
