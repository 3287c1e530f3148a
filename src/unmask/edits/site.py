"""Where in a model an edit acts: layer, stream and positions."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unmask.errors import SettingError

Stream = Literal["resid_pre", "attn_out", "mlp_out", "resid_post"]
"""`attn_out` and `mlp_out` are what the sub-layer adds to the residual stream, so after the extra
norm of families that have one there."""

Positions = Literal["all", "prompt", "last", "answer"]
"""`prompt`: the tokens of the prompt; `last`: its last token, from which the answer is predicted;
`answer`: the tokens after it."""


@dataclass(frozen=True)
class Site:
    """A place in the residual stream."""

    layer: int
    """Index of the block, from 0."""
    stream: Stream = "resid_post"
    positions: Positions = "all"

    def __post_init__(self) -> None:
        """Check the layer; the subject checks its upper bound."""
        if self.layer < 0:
            raise SettingError(
                f"expected a layer of at least 0, got {self.layer}. Layers are counted from the "
                "first block; write the last one as n_layers - 1."
            )

    @property
    def first_block(self) -> int:
        """The first block whose computation the edit can change."""
        return self.layer + (self.stream == "resid_post")


@dataclass(frozen=True)
class Tokens:
    """Which tokens a tensor of activations holds."""

    keys: Int[Tensor, " batch"]
    """Identity of each row, for noise."""
    pos: Int[Tensor, "batch pos"]
    """Position of each token in its row, counted from its first real token; negative: padding."""
    n_prompt: Int[Tensor, " batch"]
    """Number of prompt tokens in each row."""

    def mask(self, positions: Positions) -> Bool[Tensor, "batch pos"]:
        """Mark the tokens that an edit at these positions changes; padding never is."""
        real = self.pos >= 0
        n_prompt = self.n_prompt[:, None]
        if positions == "prompt":
            return real & (self.pos < n_prompt)
        if positions == "last":
            return real & (self.pos == n_prompt - 1)
        if positions == "answer":
            return real & (self.pos >= n_prompt)
        return real

    def rows(self, index: Int[Tensor, " n"]) -> "Tokens":
        """Return the tokens of some rows."""
        return Tokens(self.keys[index], self.pos[index], self.n_prompt[index])

    def repeated(self, times: int) -> "Tokens":
        """Return the same rows several times over, one set behind the other."""
        return Tokens(
            self.keys.repeat(times), self.pos.repeat(times, 1), self.n_prompt.repeat(times)
        )

    def columns(self, start: int, stop: int) -> "Tokens":
        """Return the tokens of some columns."""
        return Tokens(self.keys, self.pos[:, start:stop], self.n_prompt)

    def to(self, device: torch.device) -> "Tokens":
        """Return the same on another device."""
        if self.pos.device == device:
            return self
        return Tokens(self.keys.to(device), self.pos.to(device), self.n_prompt.to(device))
