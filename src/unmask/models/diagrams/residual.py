"""The residual stream as a leg, and what is joined to it from outside the blocks.

Biases. A family that has any (of queries, keys, values, or in a layer norm) gets a residual stream
with one more component, which is 1: the leg ``d_model`` has the dimension ``d_model+1``. The last
row of a reading matrix is its bias, ``C`` leaves the last component as it is, W_E ends in a column
of ones and W_pos and W_U in one of zeros. So a row is ``[x / std, 1]``, and a bias is a weight.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.models.diagrams.bound import Bound, bound, diagonal
from unmask.models.diagrams.parts import Parts


@dataclass(frozen=True, eq=False)
class Residual:
    """The residual stream's leg, and what is the same for all heads of a model."""

    parts: Parts
    constant: bool
    """Whether it has a component that is always 1."""

    @property
    def dim(self) -> str:
        """Name of its dimension."""
        return "d_model+1" if self.constant else "d_model"

    def legs(self, before: str = "", after: str = "") -> str:
        """Leg names of a tensor that has the stream among its axes."""
        return f"{before} d_model:{self.dim} {after}".strip()

    def extended(self, array: Float[Tensor, "rows d_model"], last: float) -> Tensor:
        """Rows with the component that is 1, or would be."""
        return torch.nn.functional.pad(array, (0, 1), value=last) if self.constant else array

    @cached_property
    def embedding(self) -> Bound:
        """W_E, with legs vocab and d_model."""
        return bound("W_E", self.legs("vocab"), self.extended(self.parts.W_E.float(), 1.0))

    @cached_property
    def tokens(self) -> Bound:
        """What a token's embedding adds to the residual stream."""
        scale = self.parts.embed_scale
        assert scale == 1 or not self.constant, "no family has both"
        return self.embedding * scale

    @cached_property
    def positions(self) -> Bound | None:
        """What a learned position adds to the residual stream."""
        W_pos = self.parts.W_pos
        if W_pos is None:
            return None
        return bound("W_pos", self.legs("pos"), self.extended(W_pos.float(), 0.0))

    @cached_property
    def centring(self) -> Bound | None:
        """C; None where norms do not centre."""
        if not self.parts.centres:
            return None
        d = self.parts.d_model
        C = torch.eye(d + self.constant, device=self.parts.W_E.device)
        C[:d, :d] -= 1 / d
        legs = f"d_model:{self.dim} d_model':{self.dim}"
        return bound("C", legs, C, symmetric=((0, 1),))

    def reader(self, name: str, out: str, weight: Tensor, bias: Tensor | None) -> Bound:
        """A matrix that reads the normed stream, its bias in the last row; not centred yet."""
        if self.constant:
            last = weight.new_zeros(weight.shape[1]) if bias is None else bias
            weight = torch.cat([weight, last[None]])
        return bound(name, self.legs(after=out), weight)

    def read(self, matrix: Bound) -> Bound:
        """What a matrix reads off a normed stream."""
        return matrix if self.centring is None else self.centring @ matrix

    @cached_property
    def unembedding(self) -> Bound:
        """From the residual stream to logits: centring, the last norm's weights, W_U.

        Tied embeddings are one tensor, W_E. A bias of the last norm or of the unembedding is no
        part of any path, so it is left out.
        """
        weight = self.extended(self.parts.norm.weight[None], 0.0)[0]
        W_U = self.embedding
        if not self.parts.tied:
            W_U = bound("W_U", self.legs("vocab"), self.extended(self.parts.W_U.float(), 0.0))
        return self.read(diagonal(bound("w_final", f"d_model:{self.dim}", weight))) @ W_U.T
