"""A transformer's weights with one name and one shape each, whatever its family.

Matrices act from the right on rows, as in the papers: ``x @ W_Q``. The fields are views of the
model's parameters, so that a Linear's weight is seen transposed and a GPT-2 Conv1D's as it is; what
methods return is in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.errors import SettingError


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm: it scales each token to unit size, after centring in a layer norm, then weighs."""

    kind: Literal["rms", "layer"]
    weight: Float[Tensor, " d_model"]
    """What is multiplied with; Gemma's, which are stored less one, are whole here."""
    bias: Float[Tensor, " d_model"] | None
    eps: float
    module: nn.Module

    @property
    def centres(self) -> bool:
        """Whether the mean over d_model is removed first."""
        return self.kind == "layer"

    def scale(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """The factor of each token: 1 / rms, or 1 / std in a layer norm."""
        x = x.float()
        if self.centres:
            x = x - x.mean(-1, keepdim=True)
        return (x.square().mean(-1) + self.eps).rsqrt()

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the module computes; `reading` checks that it is."""
        centred = x - x.mean(-1, keepdim=True) if self.centres else x
        normed = centred * self.scale(x)[..., None] * self.weight
        return normed if self.bias is None else normed + self.bias


@dataclass(frozen=True, eq=False)
class Rotary:
    """Rotary positions as a tensor."""

    name: str
    """The same for layers that rotate alike."""
    table: Callable[[int], Float[Tensor, "offset d_head d_head"]]
    """Makes ``R`` for offsets 0 to n - 1: a query at ``p`` and a key at ``p - offset`` have the
    score ``q R[offset] k``."""


@dataclass(frozen=True, eq=False)
class Attention:
    """The heads of one block."""

    norm: Norm | None
    """Before; None in families that only norm what comes out."""
    post: Norm | None
    """Of what is added to the residual stream."""
    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "kv_head d_model d_head"]
    W_V: Float[Tensor, "kv_head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    b_Q: Float[Tensor, "head d_head"] | None
    b_K: Float[Tensor, "kv_head d_head"] | None
    b_V: Float[Tensor, "kv_head d_head"] | None
    b_O: Float[Tensor, " d_model"] | None
    q_norm: Float[Tensor, "head d_head"] | None
    """Weights of an RMS norm of the queries."""
    k_norm: Float[Tensor, "kv_head d_head"] | None
    scaling: float
    """Scores are multiplied with it."""
    softcap: float | None
    rotary: Rotary | None
    """None without rotary positions."""

    @property
    def n_heads(self) -> int:
        """Number of query heads."""
        return len(self.W_Q)

    @property
    def n_kv_heads(self) -> int:
        """Number of key and value heads, each read by as many query heads."""
        return len(self.W_K)

    def kv_head(self, head: int) -> int:
        """The key and value head that a query head reads."""
        return head * self.n_kv_heads // self.n_heads

    def reading(self, which: Literal["Q", "K", "V"]) -> tuple[Tensor, Tensor | None]:
        """What a normed, unscaled residual stream is read by: weights and biases of all heads.

        The weights of the norm before, and of norms of queries and keys, are folded in; centring is
        not.

        Returns:
            ``[head d_model d_head]`` and ``[head d_head]``; of key and value heads where which is
            not Q.
        """
        W: Tensor = getattr(self, f"W_{which}").float()
        b: Tensor | None = getattr(self, f"b_{which}")
        if self.norm is not None and self.norm.bias is not None:
            moved = torch.einsum("d,hde->he", self.norm.bias, W)
            b = moved if b is None else b + moved
        if self.norm is not None:
            W = self.norm.weight[:, None] * W
        after = {"Q": self.q_norm, "K": self.k_norm, "V": None}[which]
        if after is None:
            return W, b
        return W * after[:, None], None if b is None else b * after

    @property
    def biases(self) -> tuple[Tensor | None, ...]:
        """Of what it reads."""
        return self.b_Q, self.b_K, self.b_V

    @property
    def writing(self) -> Float[Tensor, "head d_head d_model"]:
        """W_O with the weights of a norm after it folded in."""
        W_O = self.W_O.float()
        return W_O if self.post is None else W_O * self.post.weight

    @property
    def writing_bias(self) -> Float[Tensor, " d_model"] | None:
        """b_O with the weights of a norm after it folded in."""
        return _weighed(self.b_O, self.post)


@dataclass(frozen=True, eq=False)
class Mlp:
    """The MLP of one block: ``act(x W_in + b_in) W_out + b_out``.

    With a gate, the hidden layer is ``act(x W_gate) * (x W_in)``.
    """

    norm: Norm | None
    post: Norm | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    W_in: Float[Tensor, "d_model d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_gate: Float[Tensor, " d_mlp"] | None
    b_in: Float[Tensor, " d_mlp"] | None
    b_out: Float[Tensor, " d_model"] | None
    activation: str
    """Its name in transformers."""
    act: Callable[[Tensor], Tensor]
    module: nn.Module

    def reading(self, which: Literal["in", "gate"]) -> tuple[Tensor, Tensor | None]:
        """W_in or W_gate and its bias, with the weights and bias of the norm before folded in."""
        W: Tensor = getattr(self, f"W_{which}").float()
        b: Tensor | None = getattr(self, f"b_{which}")
        if self.norm is None:
            return W, b
        if self.norm.bias is not None:
            moved = self.norm.bias @ W
            b = moved if b is None else b + moved
        return self.norm.weight[:, None] * W, b

    @property
    def biases(self) -> tuple[Tensor | None, ...]:
        """Of what it reads."""
        return self.b_gate, self.b_in

    @property
    def writing(self) -> Float[Tensor, "d_mlp d_model"]:
        """W_out with the weights of a norm after it folded in."""
        W_out = self.W_out.float()
        return W_out if self.post is None else W_out * self.post.weight

    @property
    def writing_bias(self) -> Float[Tensor, " d_model"] | None:
        """b_out with the weights of a norm after it folded in."""
        return _weighed(self.b_out, self.post)


@dataclass(frozen=True, eq=False)
class Block:
    """One block."""

    attention: Attention
    mlp: Mlp
    parallel: bool
    """Whether the MLP reads what enters the block, not what attention leaves."""


@dataclass(frozen=True, eq=False)
class Parts:
    """All of a model."""

    W_E: Float[Tensor, "vocab d_model"]
    embed_scale: float
    """Of Gemma, whose embeddings are multiplied with it when read; else 1."""
    W_pos: Float[Tensor, "pos d_model"] | None
    """Learned positions."""
    blocks: tuple[Block, ...]
    norm: Norm
    """Before the unembedding."""
    W_U: Float[Tensor, "vocab d_model"]
    b_U: Float[Tensor, " vocab"] | None
    tied: bool
    """Whether W_U is W_E."""
    softcap: float | None

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.W_E.shape[1]

    @property
    def centres(self) -> bool:
        """Whether norms remove the mean."""
        return self.norm.centres

    @cached_property
    def has_constant(self) -> bool:
        """Whether a head or MLP reads the residual stream with a bias."""
        readers = [one for block in self.blocks for one in (block.attention, block.mlp)]
        biases = [bias for one in readers for bias in one.biases]
        biases += [one.norm.bias for one in readers if one.norm is not None]
        return any(bias is not None for bias in biases)

    def attention(self, layer: int, head: int = 0) -> Attention:
        """The attention of a layer, after a check of layer and head.

        Raises:
            SettingError: If there is no such layer or head.
        """
        if not 0 <= layer < len(self.blocks):
            raise SettingError(
                f"expected a layer from 0 to {len(self.blocks) - 1}, got {layer}. Layers are "
                "counted from 0; write the last one as n_layers - 1."
            )
        found = self.blocks[layer].attention
        if not 0 <= head < found.n_heads:
            raise SettingError(
                f"expected a head from 0 to {found.n_heads - 1}, got {head}. Heads are counted "
                "from 0 within their layer, and are query heads where several share keys."
            )
        return found


def centred(W: Float[Tensor, "*batch d_model out"]) -> Float[Tensor, "*batch d_model out"]:
    """``C W`` with the projection ``C = 1 - 11^T / d_model`` that removes the mean of a row."""
    return W - W.mean(-2, keepdim=True)


def _weighed(bias: Tensor | None, norm: Norm | None) -> Tensor | None:
    return bias if bias is None or norm is None else bias * norm.weight
