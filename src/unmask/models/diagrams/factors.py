"""Norms of products of heads, by their factors of width d_head."""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from unmask.models.diagrams.parts import Parts, centred


@dataclass(frozen=True, eq=False)
class HeadFactors:
    """Every head of a model. A head's QK is ``Q K^T`` and its OV is ``V O``.

    Norms' weights and centring are folded in; their factors, biases, scaling and rotary positions,
    which are the identity between tokens at one place, are not.
    """

    Q: Float[Tensor, "layer head d_model d_head"]
    K: Float[Tensor, "layer head d_model d_head"]
    V: Float[Tensor, "layer head d_model d_head"]
    O: Float[Tensor, "layer head d_head d_model"]  # noqa: E741 (as in the papers)

    @classmethod
    def of(cls, parts: Parts) -> "HeadFactors":
        """Read them; query heads that share keys and values get them each."""

        def readers(which: Literal["Q", "K", "V"]) -> Tensor:
            stacked = []
            for attention in attentions:
                W = attention.reading(which)[0]
                stacked.append(W.repeat_interleave(attention.n_heads // len(W), 0))
            W = torch.stack(stacked)
            return centred(W) if parts.centres else W

        attentions = [block.attention for block in parts.blocks]
        written = torch.stack([attention.writing for attention in attentions])
        return cls(readers("Q"), readers("K"), readers("V"), written)

    def random(self, generator: torch.Generator) -> "HeadFactors":
        """Gaussian factors of the same shapes."""
        return HeadFactors(
            *(
                torch.randn(W.shape, generator=generator).to(W)
                for W in (self.Q, self.K, self.V, self.O)
            )
        )


def gram(rows: Float[Tensor, "row d_model"], at_once: int = 4096) -> Float[Tensor, "d_model d2"]:
    """``W^T W`` in float64, some rows at a time, so that a vocabulary is never copied whole."""
    total = rows.new_zeros((rows.shape[1],) * 2, dtype=torch.float64)
    for some in rows.split(at_once):
        wide = some.double()
        total += wide.T @ wide
    return total


def root(gram: Float[Tensor, "*batch d_head d_head"]) -> Float[Tensor, "*batch d_head d_head"]:
    """A matrix R with ``R R^T`` the one given, which is positive semi-definite but for rounding."""
    values, vectors = torch.linalg.eigh(gram.double())
    return vectors * values.clamp(min=0).sqrt()[..., None, :]


def pair_norms(
    left: Float[Tensor, "layer head d_head d_model"],
    right: Float[Tensor, "layer head d_model d_head"],
) -> Float[Tensor, "layer head later later_head"]:
    """Frobenius norms of ``left[h] right[h']`` for all pairs with h' in a later layer; else NaN.

    The largest array on the way has (n_heads d_head)^2 elements: one pair of layers.
    """
    n_layers, n_heads = left.shape[:2]
    norms = left.new_full((n_layers, n_heads, n_layers, n_heads), torch.nan)
    rows = rearrange(left, "layer head d_head d_model -> layer (head d_head) d_model")
    columns = rearrange(right, "layer head d_model d_head -> layer d_model (head d_head)")
    for first in range(n_layers):
        for second in range(first + 1, n_layers):
            cores = (rows[first] @ columns[second]).square_()
            blocks = rearrange(cores, "(h a) (g b) -> h a g b", h=n_heads, g=n_heads)
            norms[first, :, second] = blocks.sum((1, 3)).sqrt()
    return norms
