"""One tiny random model for each family, and a byte-level tokenizer; nothing is downloaded."""

import functools
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from unmask.models.subject import Subject

# Small products on two threads cost more in waiting than they save.
torch.set_num_threads(1)

N_LAYERS, D_MODEL = 3, 32
_MERGES = [("Ġ", letter) for letter in "ABCDEt"] + [("h", "e"), ("Ġt", "he")]

_SIZES = {
    "hidden_size": D_MODEL,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
}
_GPT2_SIZES = {
    "n_embd": D_MODEL,
    "n_layer": N_LAYERS,
    "n_head": 4,
    "n_positions": 128,
    "initializer_range": 0.25,
}
_SLIDING_FIRST = ["sliding_attention", "full_attention", "sliding_attention"]

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _SIZES),
    "mistral": ("Mistral", _SIZES | {"sliding_window": 6}),
    "qwen2": (
        "Qwen2",
        _SIZES | {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", _SIZES),
    "qwen3-moe": (
        "Qwen3Moe",
        _SIZES | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "gemma2": (
        "Gemma2",
        _SIZES
        | {
            "sliding_window": 6,
            "layer_types": _SLIDING_FIRST,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 3.0,
            "attn_logit_softcapping": 5.0,
        },
    ),
    "gemma3": (
        "Gemma3",
        _SIZES | {"sliding_window": 6, "layer_types": _SLIDING_FIRST, "query_pre_attn_scalar": 8},
    ),
    "phi3": ("Phi3", _SIZES | {"original_max_position_embeddings": 128}),
    "olmo2": ("Olmo2", _SIZES),
    "gpt2": ("GPT2", _GPT2_SIZES),
    "gpt-neo": (
        "GPTNeo",
        {
            "hidden_size": D_MODEL,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 6,
            "max_position_embeddings": 128,
            "initializer_range": 0.25,
        },
    ),
    "gpt-neox": ("GPTNeoX", _SIZES),
    "openai-gpt": ("OpenAIGPT", _GPT2_SIZES),
}

_CLASSES = {"GPT2": "GPT2LMHeadModel", "OpenAIGPT": "OpenAIGPTLMHeadModel"}
_CONFIGS = {"Gemma3": "Gemma3TextConfig"}


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, a few merges, and three special tokens."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += [left + right for left, right in _MERGES]
    bpe = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, list(_MERGES)))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def build(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Make a new random model of a family."""
    name, settings = FAMILIES[family]
    tok = tokenizer()
    config = getattr(transformers, _CONFIGS.get(name, f"{name}Config"))(
        **(settings | changes),
        vocab_size=len(tok),
        pad_token_id=tok.pad_token_id,
        eos_token_id=tok.eos_token_id,
        bos_token_id=tok.bos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, _CLASSES.get(name, f"{name}ForCausalLM"))(config)
        with torch.no_grad():  # norms and biases start as constants, which would hide mistakes
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@functools.cache
def subject(family: str = "llama") -> Subject:
    """The family's subject, shared between tests: they must leave it as it was."""
    return Subject(build(family), tokenizer(), name=f"tiny-{family}")
