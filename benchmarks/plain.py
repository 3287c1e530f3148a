"""The peers that need no library: transformers with plain forward hooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.model import OPTIONS


@contextmanager
def adding(
    model: Any, block: int, vectors: Float[Tensor, "batch d_model"], columns: slice
) -> Iterator[None]:
    """Add a vector to what enters a block, for each row of a batch, at some columns."""

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0].clone()
        hidden[:, columns] += vectors[:, None].to(hidden)
        return (hidden, *args[1:]), kwargs

    handle = model.model.layers[block].register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def batched(
    model: PreTrainedModel,
    ids: tuple[int, ...],
    block: int,
    vectors: Float[Tensor, "batch d_model"],
    columns: slice,
    n_read: int = 1,
) -> Float[Tensor, "batch read option"]:
    """Score the options at the last positions under each vector: one batch of full forwards."""
    rows = torch.tensor([ids], device=model.device).expand(len(vectors), -1)
    with adding(model, block, vectors, columns):
        logits = model(rows, use_cache=False, logits_to_keep=n_read).logits
    return logits.float().log_softmax(-1)[..., OPTIONS]


def looped(
    model: PreTrainedModel,
    ids: tuple[int, ...],
    block: int,
    vectors: Float[Tensor, "batch d_model"],
    columns: slice,
    n_read: int = 1,
) -> Float[Tensor, "batch read option"]:
    """Do the same by one full forward for each vector."""
    return torch.cat(
        [batched(model, ids, block, vector[None], columns, n_read) for vector in vectors]
    )
