"""Which token attends to which, and the keys and values that a pass brings along.

Blocks are called one by one, with a mask and a cache of ours. The mask lets a token attend to the
real tokens before it in its own text: the prompt, then its own continuation, under its own edit.
So the tokens of many edits and many continuations can stand in one row behind keys and values that
are there once: a packed tree.
"""

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from unmask.models.batch import Batch

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one block, each ``[batch n_kv_heads pos d_head]``."""


class StopAtKeysError(Exception):
    """Raised to leave a block once its keys and values are known."""


@runtime_checkable
class Cache(Protocol):
    """What attention asks of a cache."""

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: object, **__: object
    ) -> KeyValue:
        """Take the keys and values of the tokens in a pass; return all that they attend to."""
        ...


class KeyValues:
    """Keys and values before a pass, and those that it adds.

    Stands where a block expects its cache.
    """

    def __init__(
        self,
        before: Mapping[int, KeyValue] | None = None,
        keep: Collection[int] = (),
        *,
        stop: bool = False,
        complete: bool = False,
    ) -> None:
        """Set what is there before the pass.

        Args:
            before: For each block that has some, keys and values of earlier columns; with batch 1
                they serve every row.
            keep: Blocks whose keys and values are kept, the earlier ones included.
            stop: Leave the block when its keys and values are known.
            complete: Those of the pass itself are in `before` already.
        """
        self.before = before or {}
        self.keep = keep
        self.stop = stop
        self.complete = complete
        self.kept: dict[int, KeyValue] = {}

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: object, **__: object
    ) -> KeyValue:
        """Put the keys and values of a pass behind the earlier ones."""
        if self.complete:
            return self.before[layer_idx]
        if layer_idx in self.before:
            earlier = self.before[layer_idx]
            key, value = (
                torch.cat((old.expand(len(new), -1, -1, -1), new), dim=2)
                for old, new in zip(earlier, (key, value), strict=True)
            )
        if layer_idx in self.keep:
            self.kept[layer_idx] = key, value
        if self.stop:
            raise StopAtKeysError
        return key, value


def first_columns(
    keys: Mapping[int, KeyValue], stop: int, blocks: Collection[int], copies: int = 1
) -> dict[int, KeyValue]:
    """Take the keys and values of the columns below `stop`, for some blocks.

    Args:
        keys: For each block.
        stop: Number of columns.
        blocks: Which are wanted.
        copies: How often the rows are repeated, one set of rows behind the other.
    """
    return {
        block: (_columns(keys[block][0], stop, copies), _columns(keys[block][1], stop, copies))
        for block in blocks
    }


def _columns(tensor: Tensor, stop: int, copies: int) -> Tensor:
    tensor = tensor[:, :, :stop]
    return tensor if copies == 1 or len(tensor) == 1 else tensor.repeat(copies, 1, 1, 1)


def visible(
    batch: Batch, start: int, first: int, window: int | None = None, copies: int = 1
) -> Bool[Tensor, "batch 1 queries keys"]:
    """Say which columns each token of a pass attends to.

    Args:
        batch: The layout.
        start: First column of the pass; earlier ones are keys only.
        first: First column that attends to others; those between are keys only, too.
        window: A token attends to the last `window` positions only, itself among them.
        copies: How often the columns from `start` on stand in the pass, one copy behind the other;
            a copy sees the earlier columns and itself.

    Returns:
        The mask; its batch axis is 1 where all rows have the same. Padding attends to itself, so
        that it has finite values.
    """
    pos, branch = batch.tokens.pos, batch.branch
    if not (batch.padded or batch.branched):
        # Continuations of different length end in padding that nothing looks at.
        pos, branch = pos.amax(0, keepdim=True), branch.amax(0, keepdim=True)
    column = torch.arange(batch.n_columns, device=pos.device)
    query = column[first:, None]
    seen = (pos >= 0)[:, None] & (column <= query)
    if batch.branched:
        seen = seen & ((branch == 0)[:, None] | (branch[:, None] == branch[:, first:, None]))
    if window is not None:
        seen = seen & (pos[:, first:, None] - pos[:, None] < window)
    seen = seen | (column == query)
    if copies > 1:
        earlier, own = seen[:, :, :start], seen[:, :, start:]
        rows, queries, keys = own.shape
        same = torch.eye(copies, dtype=torch.bool, device=pos.device)[None, :, None, :, None]
        apart = (same & own[:, None, :, None]).reshape(rows, copies * queries, copies * keys)
        seen = torch.cat((earlier.repeat(1, copies, 1), apart), dim=2)
    return seen[:, None]


def needs_mask(batch: Batch, start: int, window: int | None, copies: int) -> bool:
    """Whether plain causal attention would let a token of the pass see what it must not.

    A kernel without a mask takes the pass for a whole text, so keys of earlier columns need one.
    """
    too_long = window is not None and batch.n_columns > window
    return start > 0 or copies > 1 or batch.padded or batch.branched or too_long


def additive(seen: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Tensor:
    """Turn a mask into one that is added to attention scores."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)
