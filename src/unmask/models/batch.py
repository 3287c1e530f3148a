"""Rows of token ids, padded on the left and grouped by length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from unmask.edits import Tokens


@dataclass(frozen=True)
class TokenRow:
    """One row of token ids: a prompt and, perhaps, the start of an answer."""

    prompt: tuple[int, ...]
    continuation: tuple[int, ...] = ()
    key: int = 0
    """Identity of the row, for noise."""

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.prompt) + len(self.continuation)


@dataclass(frozen=True)
class Batch:
    """Rows padded on the left to one length."""

    input_ids: Int[Tensor, "batch pos"]
    tokens: Tokens
    indices: tuple[int, ...]
    """Where each row stood in the list that the batches were made of."""
    max_continuation: int
    """Longest continuation of the rows, in tokens."""

    @property
    def attention_mask(self) -> Int[Tensor, "batch pos"]:
        """1 where a token is real, 0 where it is padding."""
        return (self.tokens.pos >= 0).long()

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """Positions counted from each row's first real token; 0 on padding."""
        return self.tokens.pos.clamp(min=0)


def make_batches(
    rows: Sequence[TokenRow], *, tokens_per_batch: int, pad: int, device: torch.device
) -> Iterator[Batch]:
    """Group rows of like length so that each batch holds at most `tokens_per_batch` tokens.

    A row longer than that is a batch of its own. Longest first, so that what does not fit in memory
    shows at once.
    """
    order = sorted(range(len(rows)), key=lambda index: (-len(rows[index]), index))
    start = 0
    while start < len(order):
        longest = max(len(rows[order[start]]), 1)
        size = max(1, tokens_per_batch // longest)
        indices = order[start : start + size]
        yield pad_left([rows[index] for index in indices], indices, pad, device)
        start += size


def pad_left(
    rows: Sequence[TokenRow], indices: Sequence[int], pad: int, device: torch.device
) -> Batch:
    """Pad rows on the left to the longest of them."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
    for line, row in zip(ids, rows, strict=True):
        if len(row):
            line[longest - len(row) :] = torch.tensor(row.prompt + row.continuation)
    lengths = torch.tensor([len(row) for row in rows])
    pos = torch.arange(longest)[None] - (longest - lengths)[:, None]
    tokens = Tokens(
        keys=torch.tensor([row.key for row in rows], dtype=torch.int64),
        pos=pos,
        n_prompt=torch.tensor([len(row.prompt) for row in rows]),
    )
    return Batch(
        ids.to(device),
        tokens.to(device),
        tuple(indices),
        max(len(row.continuation) for row in rows),
    )
