"""The QK and OV circuits of a head.

What a head reads is the residual stream of a token after the norm before it, but for the norm's
factor: 1 / rms, or 1 / std, which differs from token to token and multiplies a whole row. The
norm's weights are folded into W_Q, W_K and W_V, and its centring is the projection ``C``.

Biases are weights of a component that is always 1; see `unmask.models.diagrams.residual`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound, bound
from unmask.models.diagrams.parts import Attention
from unmask.models.diagrams.reading import parts_of
from unmask.models.diagrams.residual import Residual
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class Head:
    """A head as diagrams. Contracting `qk` and `ov` makes d_model x d_model arrays."""

    layer: int
    head: int
    residual: Residual = field(repr=False)
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
        return self.qk_between(self.residual.tokens, self.residual.tokens)

    @cached_property
    def qk_positions(self) -> Bound:
        """`qk` between learned positions: query and key are of dimension pos.

        Raises:
            SettingError: If the model has no learned positions.
        """
        positions = self.residual.positions
        if positions is None:
            raise SettingError(
                "expected a model with learned positions, got one without a position embedding. "
                "It has rotary positions, which are the leg `offset` of `qk`."
            )
        return self.qk_between(positions, positions)

    @cached_property
    def ov_circuit(self) -> Bound:
        """`ov` from tokens to logits: source and out are of dimension vocab."""
        whole = self.residual.tokens @ self.ov @ self.residual.unembedding
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
    residual = Residual(parts, parts.has_constant)
    n_offsets = min(64, subject.n_ctx) if n_offsets is None else n_offsets
    return Head(
        layer,
        head,
        residual,
        qk=_qk(residual, attention, (layer, head), n_offsets),
        ov=values(residual, attention, (layer, head))(d_model="source")
        @ output(residual, attention, (layer, head))(d_model="out"),
    )


def values(residual: Residual, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's values: legs ``d_model d_head``."""
    return _reader(residual, attention, "V", at)


def queries(residual: Residual, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's queries: legs ``d_model d_head``."""
    return _reader(residual, attention, "Q", at)


def keys(residual: Residual, attention: Attention, at: tuple[int, int]) -> Bound:
    """From the normed stream to a head's keys: legs ``d_model d_head``."""
    return _reader(residual, attention, "K", at)


def output(residual: Residual, attention: Attention, at: tuple[int, int]) -> Bound:
    """From a head's mixed values to the stream: legs ``d_head d_model``."""
    layer, head = at
    array = residual.extended(attention.writing[head], 0.0)
    return bound(f"W_O^{layer}.{head}", residual.legs("d_head"), array)


def _qk(residual: Residual, attention: Attention, at: tuple[int, int], n_offsets: int) -> Bound:
    W_Q = queries(residual, attention, at)(d_model="query")
    W_K = keys(residual, attention, at)(d_model="key")
    if attention.rotary is None:
        return attention.scaling * (W_Q @ W_K.T)
    R = bound(
        attention.rotary.name, "offset d_head d_head':d_head", attention.rotary.table(n_offsets)
    )
    rotated = W_Q.times(R, {"d_head": "d_head"}).times(W_K, {"d_head'": "d_head"})
    return attention.scaling * rotated.ordered("query", "key", "offset")


def _reader(
    residual: Residual, attention: Attention, which: Literal["Q", "K", "V"], at: tuple[int, int]
) -> Bound:
    layer, head = at
    shared = which != "Q" and attention.n_kv_heads < attention.n_heads
    index = head if which == "Q" else attention.kv_head(head)
    weight, bias = attention.reading(which)
    # Heads that share keys and values name the same arrays.
    name = f"W_{which}^{layer}.{'kv' if shared else ''}{index}"
    bias = None if bias is None else bias[index]
    return residual.read(residual.reader(name, "d_head", weight[index], bias))
