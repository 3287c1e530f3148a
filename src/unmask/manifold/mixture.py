"""A mixture of Gaussians, fitted by scikit-learn."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import MissingExtraError, SettingError
from unmask.manifold.density import Acts, Density
from unmask.manifold.moments import Moments


class Mixture(Density):
    """Some Gaussians: for activations that fall into groups, such as kinds of tokens.

    Distances and whitening remain those of the one Gaussian with the same moments.
    """

    kind: ClassVar[str] = "mixture"

    def __init__(
        self,
        mean: Float[Tensor, " d_model"],
        covariance: Float[Tensor, "d_model d_model"],
        weights: Float[Tensor, " part"],
        means: Float[Tensor, "part d_model"],
        precisions_root: Float[Tensor, "part d_model d_model"],
    ) -> None:
        """Take the parts.

        Args:
            mean: Of all activations.
            covariance: Of all activations.
            weights: Share of each part.
            means: Their means.
            precisions_root: For each part L with ``L L^T`` its inverse covariance.
        """
        super().__init__(mean, covariance)
        self.weights, self.means = weights.double(), means.double()
        self.precisions_root = precisions_root.double()
        half_log_dets = torch.linalg.slogdet(self.precisions_root).logabsdet
        constants = self.weights.log() + half_log_dets - self.d_model / 2 * math.log(2 * math.pi)
        self._tensors |= {
            "constants": constants.float(),
            "roots": self.precisions_root.float(),
            "shifts": torch.einsum("kd,kde->ke", self.means, self.precisions_root).float(),
        }

    @classmethod
    def fit(
        cls,
        acts: Float[Tensor, "token d_model"],
        n_parts: int = 8,
        *,
        shrinkage: float | None = None,
        seed: int = 0,
    ) -> "Mixture":
        """Fit by expectation maximisation.

        Each part's covariance gets as much of the isotropic part as the whole's: scikit-learn adds
        it to every part's diagonal.

        Args:
            acts: Real activations at one site, all in memory.
            n_parts: How many Gaussians.
            shrinkage: Weight of the isotropic part; by default Ledoit & Wolf's.
            seed: Of the starting points.

        Raises:
            MissingExtraError: If scikit-learn is not installed.
            SettingError: If there are fewer than two activations for each part.
        """
        if not 1 <= n_parts <= len(acts) // 2:
            raise SettingError(
                f"expected between 1 and {len(acts) // 2} parts (half of the activations), got "
                f"{n_parts}. Give more texts, or fewer parts."
            )
        moments = Moments.of(acts)
        covariance = moments.shrunk(shrinkage)
        weight = moments.ledoit_wolf if shrinkage is None else shrinkage
        ridge = float(weight * moments.covariance.trace() / len(moments.mean))
        model = _sklearn_mixture()(
            n_parts, covariance_type="full", reg_covar=max(ridge, 1e-9), random_state=seed
        ).fit(acts.double().cpu().numpy())
        parts = (model.weights_, model.means_, model.precisions_cholesky_)
        return cls(moments.mean, covariance, *(torch.from_numpy(part) for part in parts))

    def log_prob(self, acts: Acts) -> Float[Tensor, "*batch"]:
        """Log of the density, in nats."""
        roots, shifts = self._on("roots", acts), self._on("shifts", acts)
        white = torch.einsum("...d,kde->...ke", acts, roots) - shifts
        return (self._on("constants", acts) - white.square().sum(-1) / 2).logsumexp(-1)

    def parameters(self) -> dict[str, Tensor]:
        """The parts."""
        return {
            "weights": self.weights,
            "means": self.means,
            "precisions_root": self.precisions_root,
        }

    @classmethod
    def from_parameters(
        cls,
        moments: tuple[Float[Tensor, " d_model"], Float[Tensor, "d_model d_model"]],
        parameters: dict[str, Tensor],
    ) -> "Mixture":
        """Put a saved density together again."""
        return cls(*moments, **parameters)


def _sklearn_mixture() -> Any:
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise MissingExtraError(
            "expected scikit-learn, which fits mixtures, got an installation without it. Install "
            "it with: pip install 'unmask[manifold]'."
        ) from error
    return GaussianMixture
