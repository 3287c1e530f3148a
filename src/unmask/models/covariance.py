"""The covariance of the activations at a site, for noise shaped like them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import Site
from unmask.manifold import Moments
from unmask.models.activations import each_activations
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
    rows = [TokenRow(subject.encode(text)[: subject.n_ctx]) for text in texts]
    found = each_activations(subject, rows, site, first=1)
    moments = Moments.of(acts for _, acts in found)
    covariance = moments.shrunk(shrinkage)
    values, vectors = torch.linalg.eigh(covariance / covariance.trace() * subject.d_model)
    return ((vectors * values.clamp(min=0).sqrt()) @ vectors.T).float()
