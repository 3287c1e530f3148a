"""Find a model's parts. With `families`, the only place that knows architectures."""

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from unmask.errors import SubjectError
from unmask.models.diagrams.parts import Attention, Block, Mlp, Norm, Parts, Rotary
from unmask.models.families import part
from unmask.models.subject import Subject


@dataclass(frozen=True)
class Names:
    """Dotted names in a block, and how weights are packed."""

    attention: str = "self_attn"
    norm: str | None = "input_layernorm"
    post: str | None = None
    qkv: str | None = None
    """Queries, keys and values in one matrix; None if `q_proj`, `k_proj`, `v_proj`."""
    packing: Literal["by kind", "by head"] = "by kind"
    """Of `qkv`: all queries first, or for each head its query, key and value."""
    out: str = "o_proj"
    scaled: bool = True
    """Whether scores are scaled at all."""
    mlp_norm: str | None = "post_attention_layernorm"
    mlp_post: str | None = None
    gate: str | None = "gate_proj"
    """The same as `into` if both are in one matrix, gate first."""
    into: str = "up_proj"
    down: str = "down_proj"
    act: str = "act_fn"
    positions: str | None = None
    """From the model."""


_LLAMA = Names()
_GEMMA = Names(
    post="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post="post_feedforward_layernorm",
)
_GPT2 = Names(
    "attn",
    "ln_1",
    qkv="c_attn",
    out="c_proj",
    mlp_norm="ln_2",
    gate=None,
    into="c_fc",
    down="c_proj",
    act="act",
    positions="transformer.wpe",
)

NAMES: dict[str, Names] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "Phi3ForCausalLM": Names(
        qkv="qkv_proj", gate="gate_up_proj", into="gate_up_proj", act="activation_fn"
    ),
    "Gemma2ForCausalLM": _GEMMA,
    "Gemma3ForCausalLM": _GEMMA,
    "Olmo2ForCausalLM": Names(
        norm=None,
        post="post_attention_layernorm",
        mlp_norm=None,
        mlp_post="post_feedforward_layernorm",
    ),
    "GPT2LMHeadModel": _GPT2,
    "GPTNeoForCausalLM": Names(
        "attn.attention",
        "ln_1",
        out="out_proj",
        scaled=False,
        mlp_norm="ln_2",
        gate=None,
        into="c_fc",
        down="c_proj",
        act="act",
        positions="transformer.wpe",
    ),
    "GPTNeoXForCausalLM": Names(
        "attention",
        qkv="query_key_value",
        packing="by head",
        out="dense",
        gate=None,
        into="dense_h_to_4h",
        down="dense_4h_to_h",
        act="act",
    ),
}


@torch.no_grad()
def parts_of(subject: Subject) -> Parts:
    """Read the parts of a model.

    Raises:
        SubjectError: If diagrams do not know its family, or its layers are not plain ones.
    """
    model, decoder = subject.model, subject.decoder
    names = _names_of(model)
    embedding, unembedding = decoder.embedding, decoder.unembedding
    positions: Any = part(model, names.positions) if names.positions else None
    blocks = tuple(
        Block(
            _attention(subject, names, layer),
            _mlp(block, names, model.config),
            bool(getattr(block, "use_parallel_residual", False)),
        )
        for layer, block in enumerate(decoder.blocks)
    )
    norm = _norm(decoder.norm)
    assert norm is not None, "every family in NAMES has a norm before its unembedding"
    weight: Any = unembedding.weight
    return Parts(
        W_E=embedding.weight.detach(),
        embed_scale=float(getattr(embedding, "embed_scale", 1.0)),
        W_pos=None if positions is None else positions.weight.detach(),
        blocks=blocks,
        norm=norm,
        W_U=weight.detach(),
        b_U=_bias(unembedding),
        tied=weight is embedding.weight,
        softcap=decoder.softcap,
    )


def attention_modules(subject: Subject) -> list[nn.Module]:
    """Return each block's attention, which returns its output and its pattern.

    Raises:
        SubjectError: If diagrams do not know the model's family.
    """
    name = _names_of(subject.model).attention
    return [part(block, name) for block in subject.decoder.blocks]


def _names_of(model: PreTrainedModel) -> Names:
    for cls in type(model).__mro__:
        if cls.__name__ in NAMES:
            return NAMES[cls.__name__]
    raise SubjectError(
        f"expected one of {', '.join(sorted(NAMES))}, got {type(model).__name__}. Diagrams need "
        "one MLP per block and norms before or after its parts, which mixtures of experts and the "
        "first GPT do not have. If it has, add it to NAMES in unmask/models/diagrams/reading.py."
    )


def _attention(subject: Subject, names: Names, layer: int) -> Attention:
    config: Any = subject.model.config
    block = subject.decoder.blocks[layer]
    module: Any = part(block, names.attention)
    n_heads = int(config.num_attention_heads)
    n_kv = int(getattr(config, "num_key_value_heads", None) or n_heads)
    if names.packing == "by head":
        n_kv = n_heads
    out = _matrix(part(module, names.out))
    d_head = out.shape[0] // n_heads
    (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = _qkv(module, names, n_heads, n_kv)
    return Attention(
        norm=_norm(part(block, names.norm) if names.norm else None),
        post=_norm(part(block, names.post) if names.post else None),
        W_Q=W_Q,
        W_K=W_K,
        W_V=W_V,
        W_O=rearrange(out, "(head d_head) d_model -> head d_head d_model", head=n_heads),
        b_Q=b_Q,
        b_K=b_K,
        b_V=b_V,
        b_O=_bias(part(module, names.out)),
        q_norm=_head_norm(getattr(module, "q_norm", None), n_heads, d_head),
        k_norm=_head_norm(getattr(module, "k_norm", None), n_kv, d_head),
        scaling=float(module.scaling) if names.scaled else 1.0,
        softcap=getattr(config, "attn_logit_softcapping", None),
        rotary=_rotary(subject.model, layer, d_head),
    )


def _qkv(
    module: nn.Module, names: Names, n_heads: int, n_kv: int
) -> list[tuple[Tensor, Tensor | None]]:
    """Weights ``[head d_model d_head]`` and biases ``[head d_head]``."""
    counts = (n_heads, n_kv, n_kv)

    def heads(packed: Tensor, n: int) -> Tensor:
        return rearrange(packed, "... (head d_head) -> head ... d_head", head=n)

    def split(packed: Tensor) -> list[Tensor]:
        if names.packing == "by head":
            pattern = "... (head kind d_head) -> kind head ... d_head"
            return list(rearrange(packed, pattern, head=n_heads, kind=3))
        d_head = packed.shape[-1] // sum(counts)
        pieces = packed.split([n * d_head for n in counts], -1)
        return [heads(piece, n) for piece, n in zip(pieces, counts, strict=True)]

    if names.qkv is not None:
        layer = part(module, names.qkv)
        bias = _bias(layer)
        biases = [None] * 3 if bias is None else split(bias)
        return list(zip(split(_matrix(layer)), biases, strict=True))
    found = []
    for name, n in zip(("q_proj", "k_proj", "v_proj"), counts, strict=True):
        layer = part(module, name)
        bias = _bias(layer)
        found.append((heads(_matrix(layer), n), None if bias is None else heads(bias, n)))
    return found


def _mlp(block: nn.Module, names: Names, config: Any) -> Mlp:
    module: Any = part(block, "mlp")
    into, down = part(module, names.into), part(module, names.down)
    W_in, b_in = _matrix(into), _bias(into)
    W_gate, b_gate = None, None
    if names.gate == names.into:
        W_gate, W_in = W_in.chunk(2, -1)
        b_gate, b_in = (None, None) if b_in is None else b_in.chunk(2, -1)
    elif names.gate:
        gate = part(module, names.gate)
        W_gate, b_gate = _matrix(gate), _bias(gate)
    act = getattr(module, names.act)
    keys = ("hidden_activation", "hidden_act", "activation_function")
    return Mlp(
        _norm(part(block, names.mlp_norm) if names.mlp_norm else None),
        _norm(part(block, names.mlp_post) if names.mlp_post else None),
        W_gate,
        W_in,
        _matrix(down),
        b_gate,
        b_in,
        _bias(down),
        act=act,
        activation=next(found for key in keys if (found := getattr(config, key, None))),
        module=module,
    )


def _norm(module: nn.Module | None) -> Norm | None:
    """Read a norm, and check on numbers that it computes what is read."""
    if module is None:
        return None
    weight: Any = module.weight
    bias: Any = getattr(module, "bias", None)
    eps: Any = getattr(module, "eps", getattr(module, "variance_epsilon", 0.0))
    plain = weight.detach().float()
    # Gemma's store their weight less one.
    plain = 1 + plain if type(module).__name__.startswith("Gemma") else plain
    layer = isinstance(module, nn.LayerNorm)
    found = Norm(
        "layer" if layer else "rms",
        plain,
        None if bias is None else bias.detach().float(),
        eps,
        module,
    )
    probe = torch.linspace(-1, 2, len(plain), device=plain.device).square()[None]
    given = module(probe.to(weight.dtype)).float()
    near = 1e-4 if weight.dtype == torch.float32 else 2e-2
    if not torch.allclose(found(probe), given, atol=near, rtol=near):
        raise SubjectError(
            f"expected {type(module).__name__} to be a layer or RMS norm, got another function. "
            "transformers may have changed it; correct _norm in unmask/models/diagrams/reading.py."
        )
    return found


def _head_norm(module: nn.Module | None, n: int, d_head: int) -> Tensor | None:
    """A norm's weight for each head; some norm each head alike, others all at once."""
    norm = _norm(module)
    if norm is None:
        return None
    each = norm.weight.numel() == d_head
    return norm.weight.expand(n, d_head) if each else norm.weight.view(n, d_head)


def _matrix(layer: nn.Module) -> Tensor:
    """A linear layer's weight as ``[d_in, d_out]``."""
    if isinstance(layer, Conv1D):
        return layer.weight.detach()
    if type(layer) is nn.Linear:
        return layer.weight.detach().T
    raise SubjectError(
        f"expected a Linear or Conv1D layer, got {type(layer).__name__}. The model is probably "
        "quantised or has an adapter in it; load it in float32, and merge or unload the adapter."
    )


def _bias(layer: nn.Module) -> Tensor | None:
    bias: Any = getattr(layer, "bias", None)
    return None if bias is None else bias.detach().float()


def _rotary(model: PreTrainedModel, layer: int, d_head: int) -> Rotary | None:
    module: Any = getattr(model.base_model, "rotary_emb", None)
    if module is None:
        return None
    if "layer_type" not in inspect.signature(module.forward).parameters:
        return Rotary("R", lambda n: _rotations(module, n, d_head))
    config: Any = model.config
    kind = config.layer_types[layer]
    name = f"R_{kind.removesuffix('_attention')}"
    return Rotary(name, lambda n: _rotations(module, n, d_head, layer_type=kind))


@torch.no_grad()
def _rotations(module: nn.Module, n_offsets: int, d_head: int, **kind: str) -> Tensor:
    """``R[offset] = Rot(offset)^T Rot(0)`` of the model's own tables.

    It is the identity on dimensions that are not rotated.
    """
    device = next(module.buffers()).device
    offsets = torch.arange(n_offsets, device=device)[None]
    cos, sin = (t[0] for t in module(torch.zeros(1, device=device), offsets, **kind))
    n = cos.shape[-1]
    # What transformers calls rotate_half: (a, b) becomes (-b, a).
    quarter_turn = torch.eye(n, device=device).roll(n // 2, 0)
    quarter_turn[: n // 2] *= -1
    turns = torch.diag_embed(cos) + sin[..., None] * quarter_turn
    R = torch.eye(d_head, device=device).repeat(n_offsets, 1, 1)
    R[:, :n, :n] = turns.mT @ turns[0]
    return R
