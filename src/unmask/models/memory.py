"""How much memory passes take, and how to tell that there was too little."""

from typing import Any

import torch

from unmask.errors import SettingError
from unmask.models.forward import Decoder

LOGITS_AT_ONCE = 1 << 24
"""Most logits held at a time; the vocabulary can be much wider than the residual stream."""


def bytes_per_token(decoder: Decoder) -> int:
    """Estimate the memory of one token in a pass, from above.

    Counted are keys and values of every block, the residual stream where edits begin (in two
    places), and what a block holds while it runs: the stream a few times, the widest matrix's
    output, and attention with keys repeated for every head.
    """
    size, d_model = decoder.embedding.weight.element_size(), decoder.d_model
    widest = max(
        (max(weight.shape) for weight in decoder.blocks[0].parameters() if weight.ndim > 1),
        default=d_model,
    )
    return cache_bytes_per_token(decoder) + size * (2 * d_model + 12 * d_model + 4 * widest)


def cache_bytes_per_token(decoder: Decoder) -> int:
    """Estimate the memory of one token's keys and values, from above."""
    config: Any = decoder.model.config
    n_heads = getattr(config, "num_attention_heads", 1)
    groups = max(n_heads // (getattr(config, "num_key_value_heads", None) or n_heads), 1)
    size = decoder.embedding.weight.element_size()
    return size * 2 * decoder.n_layers * max(decoder.d_model // groups, 1)


def tokens_in_cache(decoder: Decoder, tokens_per_pass: int) -> int:
    """Find how many tokens' keys and values take the memory of a pass."""
    return tokens_per_pass * bytes_per_token(decoder) // cache_bytes_per_token(decoder)


def tokens_within(decoder: Decoder, memory: int) -> int:
    """Find how many tokens may go into a pass.

    Args:
        decoder: The model.
        memory: Bytes beside the weights. Part of it is set aside for logits.

    Raises:
        SettingError: If it does not suffice for a single token.
    """
    logits = 3 * 4 * min(LOGITS_AT_ONCE, 64 * decoder.d_vocab)
    # An unedited pass is kept while an edited one runs, with texts being generated besides.
    tokens = (memory - logits) // (3 * bytes_per_token(decoder))
    if tokens < 1:
        least = logits + 3 * bytes_per_token(decoder)
        raise SettingError(
            f"expected a memory of at least {least / 2**20:.1f} MiB for this model, got "
            f"{memory / 2**20:.1f} MiB. It is what passes may take beside the weights; give more, "
            "or leave --memory out."
        )
    return tokens


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
