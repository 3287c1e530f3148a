"""Rows of token ids: a prompt, the continuations that share it, and their layout in a batch.

A batch holds its prompts padded on the left, so that all end at one column, and after that column
the continuations of each row, one behind the other:

    columns   0 ...            n_prompt | ...
    row 0     a  b  c  d  e  f          | u  v  x
    row 1     .  .  g  h  i  j          | y  z  .

``u v`` and ``x`` may be two continuations of the same prompt, or one: `branch` says which, and
attention keeps them apart (`unmask.models.attention`). `Tokens.pos` is the position in the text,
so that ``u`` and ``x`` have the same one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from jaxtyping import Int
from torch import Tensor

from unmask.edits import Tokens


@dataclass(frozen=True)
class TokenRow:
    """A prompt, and texts that each may follow it."""

    prompt: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...] = ()
    """Starts of answers; each follows the prompt and knows nothing of the others."""
    key: int = 0
    """Identity of the row, for noise."""

    def __len__(self) -> int:
        """Number of tokens, the prompt's counted once."""
        return len(self.prompt) + sum(map(len, self.continuations))

    @property
    def longest(self) -> int:
        """Number of tokens of the longest text: the context that the row needs."""
        return len(self.prompt) + max(map(len, self.continuations), default=0)


@dataclass(frozen=True)
class Batch:
    """Rows laid out in columns; see the module."""

    input_ids: Int[Tensor, "batch pos"]
    tokens: Tokens
    branch: Int[Tensor, "batch pos"]
    """0 in the prompt, the continuation's number from 1 on after it."""
    n_prompt: int
    """Number of columns of the prompts."""
    indices: tuple[int, ...]
    """Where each row stood in the list that the batches were made of."""
    padded: bool
    """Whether some prompt is shorter than the others."""
    branched: bool
    """Whether some row has more than one continuation."""

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.input_ids.shape[1]

    def renumbered(self, indices: Sequence[int]) -> "Batch":
        """Return the same rows with other indices."""
        return replace(self, indices=tuple(indices))

    @property
    def attention_mask(self) -> Int[Tensor, "batch pos"]:
        """1 where a token is real, 0 where it is padding."""
        return (self.tokens.pos >= 0).long()

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """Positions counted from each row's first real token; 0 on padding."""
        return self.tokens.pos.clamp(min=0)


def make_batches(
    rows: Sequence[TokenRow],
    *,
    tokens_per_batch: int,
    pad: int,
    device: torch.device,
    n_shared: int = 0,
) -> Iterator[Batch]:
    """Group rows of like length so that each batch holds at most `tokens_per_batch` tokens.

    A row longer than that is a batch of its own. Longest first, so that what does not fit in memory
    shows at once. For `n_shared` see `lay_out`.
    """
    order = sorted(range(len(rows)), key=lambda index: (-len(rows[index]), index))
    start = 0
    while start < len(order):
        longest = max(len(rows[order[start]]), 1)
        size = max(1, tokens_per_batch // longest)
        indices = order[start : start + size]
        yield lay_out([rows[index] for index in indices], indices, pad, device, n_shared)
        start += size


def lay_out(
    rows: Sequence[TokenRow],
    indices: Sequence[int],
    pad: int,
    device: torch.device,
    n_shared: int = 0,
) -> Batch:
    """Lay rows out in columns.

    Args:
        rows: At least one.
        indices: Where each stood in the caller's list.
        pad: Token id for padding.
        device: Where the ids are put.
        n_shared: Length of a prefix that all prompts share. It keeps the first columns, and
            shorter prompts are padded after it.
    """
    n_prompt = max(len(row.prompt) for row in rows)
    n_after = max(len(row) - len(row.prompt) for row in rows)
    shape = (len(rows), n_prompt + n_after)
    ids = torch.full(shape, pad, dtype=torch.int64)
    pos = torch.full(shape, -1, dtype=torch.int64)
    branch = torch.zeros(shape, dtype=torch.int64)
    for line, row in enumerate(rows):
        length = len(row.prompt)
        own = slice(n_prompt - length + n_shared, n_prompt)
        after = slice(n_prompt, n_prompt + len(row) - length)
        ids[line, :n_shared] = torch.tensor(row.prompt[:n_shared])
        ids[line, own] = torch.tensor(row.prompt[n_shared:])
        ids[line, after] = torch.tensor(list(chain(*row.continuations)))
        pos[line, :n_shared] = torch.arange(n_shared)
        pos[line, own] = torch.arange(n_shared, length)
        pos[line, after] = torch.tensor(
            [length + step for one in row.continuations for step in range(len(one))]
        )
        branch[line, after] = torch.tensor(
            [number for number, one in enumerate(row.continuations, 1) for _ in one]
        )
    tokens = Tokens(
        keys=torch.tensor([row.key for row in rows], dtype=torch.int64),
        pos=pos,
        n_prompt=torch.tensor([len(row.prompt) for row in rows]),
    )
    return Batch(
        ids.to(device),
        tokens.to(device),
        branch.to(device),
        n_prompt,
        tuple(indices),
        padded=any(len(row.prompt) < n_prompt for row in rows),
        branched=any(sum(map(bool, row.continuations)) > 1 for row in rows),
    )
