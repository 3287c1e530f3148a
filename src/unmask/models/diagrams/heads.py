"""The QK and OV circuits of a head.

What a head reads is the residual stream of a token after the norm before it, but for the norm's
factor: 1 / rms, or 1 / std, which differs from token to token and multiplies a whole row. The
norm's weights are folded into W_Q, W_K and W_V, and its centring is the projection ``C``.

Biases. A family that has any (of queries, keys, values, or in a layer norm) gets a residual stream
with one more component, which is 1: the leg ``d_model`` has the dimension ``d_model+1``. The last
row of a reading matrix is its bias, ``C`` leaves the last component as it is, W_E ends in a column
of ones and W_pos and W_U in one of zeros. So a row is ``[x / std, 1]``, and a bias is a weight.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound, bound, diagonal
from unmask.models.diagrams.parts import Attention, Parts
from unmask.models.diagrams.reading import parts_of
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class Stream:
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
        return bound("W_E", self.legs("vocab"), self.extended(self.parts.W_E, 1.0))

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
        return bound("W_pos", self.legs("pos"), self.extended(W_pos, 0.0))

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
            W_U = bound("W_U", self.legs("vocab"), self.extended(self.parts.W_U, 0.0))
        return self.read(diagonal(bound("w_final", f"d_model:{self.dim}", weight))) @ W_U.T


@dataclass(frozen=True, eq=False)
class Head:
    """A head as diagrams. Contracting `qk` and `ov` makes d_model x d_model arrays."""

    layer: int
    head: int
    stream: Stream = field(repr=False)
    qk: Bound
    """Score before softmax and mask, of the normed streams of a query and a key token, scaling
    included: legs ``query key``, then ``offset`` (query position less key position) with rotary
    positions. A softcap and the factors of query and key norms, which are not linear, are not in
    it."""
    ov: Bound
    """What a token that is attended to adds to the stream: legs ``source out``. The factor of a
    norm after attention is not in it."""

    @cached_property
    def qk_circuit(self) -> Bound:
        """`qk` between tokens: query and key are of dimension vocab."""
        return self.qk_between(self.stream.tokens, self.stream.tokens)

    @cached_property
    def qk_positions(self) -> Bound:
        """`qk` between learned positions: query and key are of dimension pos.

        Raises:
            SettingError: If the model has no learned positions.
        """
        positions = self.stream.positions
        if positions is None:
            raise SettingError(
                "expected a model with learned positions, got one without a position embedding. "
                "It has rotary positions, which are the leg `offset` of `qk`."
            )
        return self.qk_between(positions, positions)

    @cached_property
    def ov_circuit(self) -> Bound:
        """`ov` from tokens to logits: source and out are of dimension vocab."""
        whole = self.stream.tokens @ self.ov @ self.stream.unembedding
        return whole(**{whole.legs[0]: "source", whole.legs[1]: "out"})

    def qk_between(self, query: Bound, key: Bound) -> Bound:
        """`qk` between rows of residual streams: diagrams whose last leg is d_model."""
        q, k = (one(**{one.legs[0]: name}) for one, name in ((query, "query"), (key, "key")))
        left = q.times(self.qk(query="read query", key="read key"), {"d_model": "read query"})
        return left.times(k, {"read key": "d_model"}).ordered(*self.qk.legs)


def head(subject: Subject, layer: int, head: int, *, n_offsets: int | None = None) -> Head:
    """Make the diagrams of a head.

    Args:
        subject: The model.
        layer: Of the block.
        head: Query head within the layer; it reads key and value head ``head // group``.
        n_offsets: Length of the leg `offset`; by default 64, or the context if that is shorter.

    Raises:
        SettingError: If there is no such layer or head.
        SubjectError: If the architecture is not supported.
    """
    parts = parts_of(subject)
    attention = parts.attention(layer, head)
    stream = Stream(parts, parts.has_constant)
    n_offsets = min(64, subject.n_ctx) if n_offsets is None else n_offsets
    return Head(
        layer,
        head,
        stream,
        qk=_qk(stream, attention, (layer, head), n_offsets),
        ov=values(stream, attention, (layer, head))(d_model="source")
        @ output(stream, attention, (layer, head))(d_model="out"),
    )


def values(stream: Stream, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's values: legs ``d_model d_head``."""
    return _reader(stream, attention, "V", at)


def queries(stream: Stream, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's queries: legs ``d_model d_head``."""
    return _reader(stream, attention, "Q", at)


def keys(stream: Stream, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's keys: legs ``d_model d_head``."""
    return _reader(stream, attention, "K", at)


def output(stream: Stream, attention: Attention, at: tuple[int, int]) -> Bound:
    """From a head's mixed values to the stream: legs ``d_head d_model``."""
    layer, head = at
    array = stream.extended(attention.writing[head], 0.0)
    return bound(f"W_O^{layer}.{head}", stream.legs("d_head"), array)


def _qk(stream: Stream, attention: Attention, at: tuple[int, int], n_offsets: int) -> Bound:
    W_Q = queries(stream, attention, at)(d_model="query")
    W_K = keys(stream, attention, at)(d_model="key")
    if attention.rotary is None:
        return attention.scaling * (W_Q @ W_K.T)
    R = bound(
        attention.rotary.name, "offset d_head d_head':d_head", attention.rotary.table(n_offsets)
    )
    rotated = W_Q.times(R, {"d_head": "d_head"}).times(W_K, {"d_head'": "d_head"})
    return attention.scaling * rotated.ordered("query", "key", "offset")


def _reader(
    stream: Stream, attention: Attention, which: Literal["Q", "K", "V"], at: tuple[int, int]
) -> Bound:
    layer, head = at
    shared = which != "Q" and attention.n_kv_heads < attention.n_heads
    index = head if which == "Q" else attention.kv_head(head)
    weight, bias = attention.reading(which)
    # Heads that share keys and values name the same arrays.
    name = f"W_{which}^{layer}.{'kv' if shared else ''}{index}"
    bias = None if bias is None else bias[index]
    return stream.read(stream.reader(name, "d_head", weight[index], bias))
