"""Where each architecture keeps its parts. The only place that knows architectures.

To add a family, add one entry to `FAMILIES` and one tiny config to `tests/models/tiny.py`; the
tests there check it against the model's own forward pass.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from unmask.errors import SubjectError


@dataclass(frozen=True)
class Family:
    """Dotted names of a decoder's parts."""

    blocks: str
    """The list of blocks, from the model."""
    norm: str | None
    """The norm after the last block, from the model; None for post-norm models without one."""
    attn_out: str
    """The module, from the block, whose output attention adds to the residual stream."""
    mlp_out: str
    """The module, from the block, whose output the MLP adds to the residual stream."""
    returns_list: bool = False
    """Whether a block returns a list, the residual stream first."""
    query: str | None = None
    """The module, from the block, that makes queries and nothing else; None if there is none."""
    own_mask: str | None = None
    """A buffer, from the block, with a causal mask that attention applies beside the one given."""


_LLAMA = Family("model.layers", "model.norm", "self_attn", "mlp", query="self_attn.q_proj")
_POST_NORMS = Family(
    "model.layers",
    "model.norm",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
    query="self_attn.q_proj",
)
_GPT2 = Family("transformer.h", "transformer.ln_f", "attn", "mlp")

FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "Qwen3MoeForCausalLM": _LLAMA,
    "Phi3ForCausalLM": Family("model.layers", "model.norm", "self_attn", "mlp"),
    "Gemma2ForCausalLM": _POST_NORMS,
    "Gemma3ForCausalLM": _POST_NORMS,
    "Olmo2ForCausalLM": _POST_NORMS,
    "GPT2LMHeadModel": _GPT2,
    "GPTNeoForCausalLM": Family(
        "transformer.h",
        "transformer.ln_f",
        "attn",
        "mlp",
        returns_list=True,
        query="attn.attention.q_proj",
        own_mask="attn.attention.bias",
    ),
    "GPTNeoXForCausalLM": Family(
        "gpt_neox.layers", "gpt_neox.final_layer_norm", "attention", "mlp"
    ),
    "OpenAIGPTLMHeadModel": Family("transformer.h", None, "attn", "mlp", returns_list=True),
}


def family_of(model: PreTrainedModel) -> Family:
    """Find where a model keeps its parts, by its class or a parent class.

    Raises:
        SubjectError: If the class is of no known family.
    """
    for cls in type(model).__mro__:
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    raise SubjectError(
        f"expected one of {', '.join(sorted(FAMILIES))}, got {type(model).__name__}. "
        "This architecture is not known yet. Add an entry with the names of its blocks, norm "
        "and sub-layers to FAMILIES in unmask/models/families.py."
    )


def windows(config: Any, n_layers: int) -> list[int | None]:
    """Read how many positions back each block attends; None: all of them."""
    types = getattr(config, "layer_types", None)
    if types is None and hasattr(config, "attention_layers"):  # GPT-Neo
        kinds = config.attention_layers
        return [config.window_size if kind == "local" else None for kind in kinds]
    window = getattr(config, "sliding_window", None)
    if types is None:
        return [window] * n_layers
    return [window if kind == "sliding_attention" else None for kind in types]


def part(root: nn.Module, name: str) -> nn.Module:
    """Follow a dotted name from a module.

    Raises:
        SubjectError: If the model has no such part.
    """
    try:
        return root.get_submodule(name)
    except AttributeError as error:
        raise SubjectError(
            f"expected {type(root).__name__} to have a part {name!r}, got none ({error}). "
            "transformers may have renamed it; correct its entry in unmask/models/families.py."
        ) from error
