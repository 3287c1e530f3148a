"""Mean and covariance of more activations than fit into memory, and how far to shrink them."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError


class Moments:
    """Streaming moments in float64: mean, scatter matrix, and what Ledoit & Wolf's formula needs.

    Batches are merged by the pairwise update of Chan, Golub & LeVeque (1983), extended to third and
    fourth moments of the length: it does not lose the variance of a stream whose mean is large.
    """

    def __init__(self, d_model: int) -> None:
        """Start with no activations."""
        self.count = 0
        self.mean: Float[Tensor, " d_model"] = torch.zeros(d_model, dtype=torch.float64)
        self.scatter: Float[Tensor, "d_model d_model"] = self.mean.new_zeros(d_model, d_model)
        """Sum of ``x x^T`` over centred activations."""
        self._cubes = self.mean.new_zeros(d_model)  # sum of |x|^2 x
        self._fourths = self.mean.new_zeros(())  # sum of |x|^4

    @classmethod
    def of(
        cls,
        acts: Float[Tensor, "token d_model"] | Iterable[Float[Tensor, "_ d_model"]],
    ) -> "Moments":
        """Take the moments of activations, or of batches of them.

        Raises:
            SettingError: If there are none.
        """
        batches = [acts] if isinstance(acts, Tensor) else acts
        found: Moments | None = None
        for batch in batches:
            found = found or cls(batch.shape[-1])
            found.add(batch)
        if found is None or not found.count:
            raise SettingError(
                "expected activations, got none. The texts are probably all shorter than two "
                "tokens; give longer ones."
            )
        return found

    def add(self, acts: Float[Tensor, "token d_model"]) -> None:
        """Take more activations into account."""
        if not len(acts):
            return
        found = acts.detach().to("cpu", torch.float64)
        total = self.count + len(found)
        mean = self.mean + (found.mean(0) - self.mean) * (len(found) / total)
        self._move(mean)
        centred = found - mean
        squares = centred.square().sum(-1)
        self.scatter += centred.T @ centred
        self._cubes += squares @ centred
        self._fourths += squares.square().sum()
        self.count = total

    def _move(self, mean: Float[Tensor, " d_model"]) -> None:
        """Take the moments so far about another point."""
        step = self.mean - mean
        length, trace = step @ step, self.scatter.trace()
        along = self.scatter @ step
        self._fourths += 4 * (self._cubes @ step) + 2 * length * trace
        self._fourths += 4 * (step @ along) + self.count * length**2
        self._cubes += 2 * along + (trace + self.count * length) * step
        self.scatter += self.count * torch.outer(step, step)
        self.mean = mean

    @property
    def covariance(self) -> Float[Tensor, "d_model d_model"]:
        """The sample covariance, divided by the number of activations."""
        return self.scatter / self.count

    @property
    def second_moment(self) -> Float[Tensor, "d_model d_model"]:
        """Mean of ``x x^T``, not centred."""
        return self.covariance + torch.outer(self.mean, self.mean)

    @property
    def ledoit_wolf(self) -> float:
        """The shrinkage that is closest, in expectation, to the true covariance.

        Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
        matrices".
        """
        covariance = self.covariance
        d, trace, squares = len(self.mean), covariance.trace(), covariance.square().sum()
        spread = (squares - trace**2 / d).clamp(min=0)
        noise = (self._fourths / self.count - squares) / self.count
        return float((noise / spread).clamp(0, 1)) if spread > 0 else 1.0

    def shrunk(self, shrinkage: float | None = None) -> Float[Tensor, "d_model d_model"]:
        """The covariance, shrunk: ``(1 - shrinkage) S + shrinkage (tr S / d) I``.

        Args:
            shrinkage: Between 0 and 1; by default Ledoit & Wolf's.

        Raises:
            SettingError: If it is out of range, or the activations do not vary.
        """
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise SettingError(
                f"expected a shrinkage between 0 and 1, got {shrinkage}. It is the weight of the "
                "isotropic part; without it, the data choose."
            )
        variance = self.covariance.trace() / len(self.mean)
        if not (torch.isfinite(variance) and variance > 0):
            raise SettingError(
                f"expected activations that vary, got a mean variance of {variance:.3g} over "
                f"{self.count} tokens. Give several texts of more than two tokens."
            )
        weight = self.ledoit_wolf if shrinkage is None else shrinkage
        identity = torch.eye(len(self.mean), dtype=torch.float64)
        return (1 - weight) * self.covariance + weight * variance * identity
