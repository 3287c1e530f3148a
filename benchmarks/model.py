"""The benchmarks' model: a Llama with random weights, and what is put to it."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

D_MODEL = 512
OPTIONS = (1, 2, 3, 4)
"""Token ids whose log-probabilities are read."""


def llama(n_layers: int = 12, d_model: int = D_MODEL, d_vocab: int = 1024) -> LlamaForCausalLM:
    """Make a Llama with grouped queries, two heads of queries to one of keys."""
    config = LlamaConfig(
        vocab_size=d_vocab,
        hidden_size=d_model,
        intermediate_size=43 * d_model // 16,
        num_hidden_layers=n_layers,
        num_attention_heads=d_model // 64,
        num_key_value_heads=d_model // 128,
        max_position_embeddings=4096,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def prompt(n: int, d_vocab: int = 1024) -> tuple[int, ...]:
    """Draw token ids."""
    ids = torch.randint(0, d_vocab, (n,), generator=torch.Generator().manual_seed(n))
    return tuple(ids.tolist())


def directions(n: int, d_model: int = D_MODEL) -> Float[Tensor, "n d_model"]:
    """Draw vectors of about the stream's length in a model with random weights."""
    return torch.randn((n, d_model), generator=torch.Generator().manual_seed(n))
