"""Noise on the residual stream.

Three choices are spelt out here, since results depend on them and published code often leaves them
to chance: the distribution, its size, and for how long one draw is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
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

    @classmethod
    def stacked(cls, edits: Sequence[ActivationEdit]) -> ActivationEdit | None:
        """Add to each row noise of its own seed and scale."""
        mine = [edit for edit in edits if type(edit) is ResidualNoise]
        shared = {(e.site, e.kind, e.fresh, e.size, id(e.root)) for e in mine}
        if len(mine) < len(edits) or len(shared) > 1:
            return None
        return _ResidualNoises(
            mine[0],
            torch.tensor([edit._base() for edit in mine]),
            torch.tensor([edit.scale for edit in mine]),
        )

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Add the noise to every token."""
        base = torch.tensor([self._base()])
        return _noisy(self, acts, tokens, base, torch.tensor([self.scale]))

    def _base(self) -> int:
        """What the draw depends on beside row and token."""
        return key_bits("residual-noise", self.kind, self.seed, self.site.layer, self.site.stream)


@dataclass(frozen=True, eq=False)
class _ResidualNoises(ActivationEdit):
    """`ResidualNoise` with a seed and a scale for each row."""

    noise: ResidualNoise
    """What the rows have in common."""
    bases: Int[Tensor, " batch"]
    scales: Float[Tensor, " batch"]

    @property
    def site(self) -> Site:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.noise.site

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        return _noisy(self.noise, acts, tokens, self.bases, self.scales)


def _noisy(
    noise: ResidualNoise,
    acts: Float[Tensor, "batch pos d_model"],
    tokens: Tokens,
    bases: Int[Tensor, " batch_or_1"],
    scales: Float[Tensor, " batch_or_1"],
) -> Float[Tensor, "batch pos d_model"]:
    """Add noise, drawn for one base and scale, or one for each row."""
    z = _draw(noise, tokens, acts.shape[-1], bases)
    wide = widen(acts)
    size = wide.square().mean(-1, keepdim=True).sqrt() if noise.size == "rms" else 1.0
    return wide + scales.to(wide)[:, None, None] * size * z


def _draw(
    noise: ResidualNoise, tokens: Tokens, d_model: int, bases: Int[Tensor, " n_bases"]
) -> Float[Tensor, "batch_or_1 pos_or_1 d_model"]:
    """Draw unit noise, with axes of length 1 where one draw serves the whole axis."""
    keys = bases.to(tokens.pos.device)[:, None]
    if noise.fresh != "run":
        keys = combine(keys, tokens.keys[:, None])
    if noise.fresh == "token":
        keys = combine(keys, tokens.pos)
    if noise.kind == "positive":
        uniform = keyed_uniform(keys, d_model)
        return uniform / uniform.square().mean(-1, keepdim=True).sqrt()
    z = keyed_normal(keys, d_model)
    return z if noise.root is None else z @ noise.root.to(z).T
