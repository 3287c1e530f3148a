"""Noise on the residual stream.

Three choices are spelt out here, since results depend on them and published code often leaves them
to chance: the distribution, its size, and for how long one draw is kept.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits.base import ActivationEdit, widen
from unmask.edits.keyed import combine, keyed_normal, keyed_uniform
from unmask.edits.site import Site, Tokens
from unmask.errors import SettingError
from unmask.hashing import key_bits

Kind = Literal["isotropic", "covariance", "positive"]
Fresh = Literal["token", "sequence", "run"]


@dataclass(frozen=True, eq=False)
class ResidualNoise(ActivationEdit):
    """Add ``scale * size * z`` to the activations at a site, ``z`` of unit mean square.

    The draw is a pure function of (seed, row, position, site): the same for any batch size, order,
    device count or resume point.

    Source: per-token Gaussian noise as in Cywinski et al. (arXiv:2510.01070), who re-seed the
    global generator at each step and so repeat the noise at every generated token, which we do not;
    `positive` as in the published code of Poser (Clymer et al., arXiv:2405.05466), which draws
    uniform numbers on [0, 1] once: a direction with only positive components.
    """

    site: Site
    scale: float
    """Size of the noise, in units of `size`."""
    seed: int
    kind: Kind = "isotropic"
    """`isotropic`: z ~ N(0, I). `covariance`: z ~ N(0, C), C the covariance of the activations at
    the site divided by its mean variance. `positive`: z = u / rms(u), u uniform on [0, 1]."""
    fresh: Fresh = "token"
    """How long a draw is kept: a new one at each token, one per sequence, or one for the run."""
    size: Literal["rms", "absolute"] = "rms"
    """`rms`: the root mean square of the activation at the same token; `absolute`: 1."""
    root: Float[Tensor, "d_model d_model"] | None = field(default=None, repr=False)
    """For `covariance`: a matrix A with ``A A^T = C``."""

    def __post_init__(self) -> None:
        """Check scale, and that the covariance is there exactly when it is needed."""
        if not 0 <= self.scale < math.inf:
            raise SettingError(
                f"expected a finite noise scale of at least 0, got {self.scale}. It is relative to "
                "the stream's root mean square unless size='absolute'; try 0.1."
            )
        if (self.kind == "covariance") != (self.root is not None):
            raise SettingError(
                f"expected `root` exactly for kind='covariance', got kind={self.kind!r} and "
                f"{'a root' if self.root is not None else 'no root'}. "
                "Fit one with unmask.models.covariance.covariance_root."
            )

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Add the noise to every token."""
        z = self._draw(tokens, acts.shape[-1])
        wide = widen(acts)
        size = wide.square().mean(-1, keepdim=True).sqrt() if self.size == "rms" else 1.0
        return wide + self.scale * size * z

    def _draw(self, tokens: Tokens, d_model: int) -> Float[Tensor, "batch_or_1 pos_or_1 d_model"]:
        """Draw unit noise, with axes of length 1 where one draw serves the whole axis."""
        base = key_bits("residual-noise", self.kind, self.seed, self.site.layer, self.site.stream)
        keys = torch.full((1, 1), base, dtype=torch.int64, device=tokens.pos.device)
        if self.fresh != "run":
            keys = combine(keys, tokens.keys[:, None])
        if self.fresh == "token":
            keys = combine(keys, tokens.pos)
        if self.kind == "positive":
            uniform = keyed_uniform(keys, d_model)
            return uniform / uniform.square().mean(-1, keepdim=True).sqrt()
        z = keyed_normal(keys, d_model)
        return z if self.root is None else z @ self.root.to(z).T
