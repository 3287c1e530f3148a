"""The covariance of the activations at a site, for noise shaped like them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import ActivationEdit, Site, Tokens
from unmask.errors import SettingError
from unmask.models.batch import TokenRow
from unmask.models.subject import Subject


def covariance_root(
    subject: Subject, texts: Sequence[str], site: Site, shrinkage: float = 0.1
) -> Float[Tensor, "d_model d_model"]:
    """Fit the shape of the activations at a site, as `ResidualNoise(kind="covariance")` takes it.

    The covariance S over all tokens is shrunk, ``(1 - shrinkage) S + shrinkage (tr S / d) I``, and
    divided by its mean variance ``tr S / d``. The first token of each text is left out: attention
    sinks there have norms hundreds of times the others', and would be all that is seen.

    Args:
        subject: The model.
        texts: Ordinary texts, cut to the model's context; their chat template is the caller's.
        site: Layer and stream; its positions are not used.
        shrinkage: Between 0, the sample covariance, and 1, isotropic.

    Returns:
        The symmetric square root A, ``A A^T = C`` with ``tr C = d_model``; float32, on the CPU.

    Raises:
        SettingError: If `shrinkage` is out of range, or the activations do not vary.
    """
    if not 0 <= shrinkage <= 1:
        raise SettingError(
            f"expected a shrinkage between 0 and 1, got {shrinkage}. It is the weight of the "
            "isotropic part; try 0.1."
        )
    rows = [TokenRow(subject.encode(text)[: subject.n_ctx]) for text in texts]
    moments = _Moments(site, torch.zeros(subject.d_model), torch.zeros((subject.d_model,) * 2))
    for batch in subject.batches(rows):
        subject.decoder.full(batch, moments)
    covariance = moments.scatter / max(moments.count - 1, 1)
    variance = covariance.trace() / subject.d_model
    if not (torch.isfinite(variance) and variance > 0):
        raise SettingError(
            f"expected activations that vary at layer {site.layer}, {site.stream}, got a mean "
            f"variance of {variance:.3g} over {moments.count} tokens. Give several texts of more "
            "than two tokens."
        )
    identity = torch.eye(subject.d_model, dtype=torch.float64)
    shape = (1 - shrinkage) * covariance / variance + shrinkage * identity
    values, vectors = torch.linalg.eigh(shape)
    return ((vectors * values.clamp(min=0).sqrt()) @ vectors.T).float()


@dataclass(eq=False)
class _Moments(ActivationEdit):
    """Changes nothing; adds what passes to a mean and a scatter matrix, in float64.

    Source: the pairwise update of Chan, Golub & LeVeque (1983), which does not lose the variance
    of a stream whose mean is large.
    """

    site: Site
    mean: Float[Tensor, " d_model"] = field(repr=False)
    scatter: Float[Tensor, "d_model d_model"] = field(repr=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.mean, self.scatter = self.mean.double(), self.scatter.double()

    def apply(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Take note of every real token but each row's first."""
        found = acts[tokens.to(acts.device).pos >= 1].double().cpu()
        if len(found):
            total = self.count + len(found)
            mean = found.mean(0)
            centred, step = found - mean, mean - self.mean
            self.scatter += centred.T @ centred
            self.scatter += torch.outer(step, step) * (self.count * len(found) / total)
            self.mean += step * (len(found) / total)
            self.count = total
        return acts

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the activations as they are."""
        return acts
