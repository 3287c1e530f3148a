"""MLPs as diagrams: with the activation as a box, without it, or with it frozen."""

from typing import Any

import wirework
from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound, bound, ones
from unmask.models.diagrams.freezing import Frozen
from unmask.models.diagrams.parts import Mlp
from unmask.models.diagrams.reading import parts_of
from unmask.models.diagrams.residual import Residual
from unmask.models.subject import Subject

_BOXES = {
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Activations by their names in transformers, and the boxes that draw and compute them."""


def mlp(
    subject: Subject, layer: int, *, bilinear: bool = False, frozen: Frozen | None = None
) -> Bound:
    """Make the diagram of an MLP.

    It reads the residual stream after the norm before it, but for the norm's factor, as a `Head`
    does; weights of norms before and after are folded in. What it writes whatever it reads, its
    last bias, is in the first form only.

    Args:
        subject: The model.
        layer: Of the block.
        bilinear: Leave the gate's activation out, so that a gated MLP is one order-3 tensor. That
            is another function than the model's.
        frozen: Hold the gate, or the ratio of activation to its argument, at what it was.

    Returns:
        By default a function of the tensor ``x``, which is to be bound: legs ``pos d_model``. With
        `bilinear` the legs ``gate in out``, with `frozen` for each position a matrix: ``pos in
        out``.

    Raises:
        SettingError: If there is no such layer, its MLP has no gate to leave the activation out of,
            or there is no box for its activation.
        SubjectError: If the architecture is not supported.
    """
    parts = parts_of(subject)
    parts.attention(layer)
    residual, one = Residual(parts, parts.has_constant), parts.blocks[layer].mlp
    W_in, W_out = _reader(residual, one, "in", layer), _writer(residual, one, layer)
    if bilinear:
        if one.W_gate is None or frozen is not None:
            got = "no gate" if one.W_gate is None else "frozen activations as well"
            raise SettingError(
                f"expected a gated MLP, or one with frozen activations, got {got}. Without its "
                "activation an MLP without a gate is a matrix product: W_in W_out. Choose one."
            )
        gate = _reader(residual, one, "gate", layer)(d_model="gate")
        both = gate.times(W_in(d_model="in"), share=["d_mlp"])
        return both.times(W_out(d_model="out"), {"d_mlp": "d_mlp"})
    if frozen is not None:
        frozen.require_of(parts)
        gate = bound(f"G^{layer}", "pos d_mlp", frozen.blocks[layer].gate)
        gated = W_in(d_model="in").times(gate, share=["d_mlp"])
        made = gated.times(W_out(d_model="out"), {"d_mlp": "d_mlp"})
        return made.ordered("pos", "in", "out")
    return _function(residual, one, layer, W_in, W_out)


def _function(residual: Residual, one: Mlp, layer: int, W_in: Bound, W_out: Bound) -> Bound:
    x = bound("x", residual.legs("pos"))
    if one.W_gate is None:
        hidden = _box(one, x @ W_in)
    else:
        gate = _box(one, x @ _reader(residual, one, "gate", layer))
        hidden = gate.times(x @ W_in, share=["pos", "d_mlp"])
    out = hidden @ W_out
    if one.writing_bias is None:
        return out
    array = residual.extended(one.writing_bias[None], 0.0)[0]
    return out + ones("pos").times(bound(f"b_out^{layer}", residual.legs(), array))


def _box(one: Mlp, inner: Bound) -> Bound:
    if one.activation not in _BOXES:
        raise SettingError(
            f"expected an activation among {', '.join(_BOXES)}, got {one.activation!r}. There is "
            "no box for it; use the form with frozen activations, which any activation has."
        )
    box = wirework.apply(_BOXES[one.activation], inner.expression)
    return Bound(box, inner.arrays, inner.sizes)


def _reader(residual: Residual, one: Mlp, which: Any, layer: int) -> Bound:
    weight, bias = one.reading(which)
    return residual.read(residual.reader(f"W_{which}^{layer}", "d_mlp", weight, bias))


def _writer(residual: Residual, one: Mlp, layer: int) -> Bound:
    return bound(f"W_out^{layer}", residual.legs("d_mlp"), residual.extended(one.writing, 0.0))
