"""Passes over a batch: once unedited, and from there under many edits at once.

An unedited pass keeps what edited ones need: the residual stream where they begin, and the keys and
values of the columns before them. An edited pass computes the blocks and the columns that its edits
can change and nothing else, for several edits together: their columns one behind the other in one
row (a packed tree) or in rows of their own. Of the last block only what is read is computed, beside
the keys and values that it attends to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.edits import ActivationEdit, Tokens
from unmask.models.applying import Applied
from unmask.models.attention import KeyValue, KeyValues, first_columns
from unmask.models.batch import Batch
from unmask.models.forward import Arguments, Decoder, Masks

Packing = Literal["tree", "rows"]
"""How several copies of some columns stand in a pass: one behind the other, or in rows."""


@dataclass(frozen=True)
class Needs:
    """What an unedited pass has to keep."""

    resid: Mapping[int, int] = field(default_factory=dict)
    """For each block, the first column that is wanted of what enters it."""
    keys: range = range(0)
    """Blocks whose keys and values are wanted."""
    final: bool = True
    """Whether what leaves the last block is wanted, at the columns that are read."""


@dataclass(frozen=True)
class Shared:
    """An unedited pass over a prefix that all prompts share: one row."""

    n: int
    """Length of the prefix in tokens."""
    resid: Mapping[int, Float[Tensor, "1 pos d_model"]]
    """What enters the blocks that edits begin at."""
    keys: Mapping[int, KeyValue]
    """Of every block."""


@dataclass(frozen=True)
class CleanPass:
    """An unedited pass over one batch."""

    batch: Batch
    resid: Mapping[int, Float[Tensor, "batch pos d_model"]]
    """For each wanted block, what enters it, from the wanted column on."""
    keys: Mapping[int, KeyValue]
    """Of the wanted blocks, at all columns."""
    final: Float[Tensor, "batch read d_model"] | None
    """What leaves the last block at the columns that are read, if it was wanted."""


class EditedPass(NamedTuple):
    """What one edit makes of a batch."""

    final: Float[Tensor, "batch read d_model"]
    """What leaves the last block at the columns that are read."""
    keys: Mapping[int, KeyValue]
    """If they were wanted: of the blocks and the columns that it can change."""


class Copies(NamedTuple):
    """What goes through the blocks: columns of a batch, from one on, in one or more copies."""

    batch: Batch
    start: int
    number: int = 1
    packing: Packing = "rows"

    @property
    def first_read(self) -> int:
        """The first column of a copy that is read."""
        return max(self.batch.n_prompt - 1 - self.start, 0)

    def of_each(self, hidden: Float[Tensor, "batch pos d_model"], first: int) -> Tensor:
        """Take the columns from `first` on of each copy."""
        if self.packing == "rows":
            return hidden[:, first:].contiguous()
        return hidden.unflatten(1, (self.number, -1))[:, :, first:].flatten(1, 2).contiguous()

    def keys_of_each(self, keys: Mapping[int, KeyValue]) -> list[dict[int, KeyValue]]:
        """Take the keys and values of each copy's own columns."""
        pairs = {
            block: [
                tensor[:, :, self.start :].chunk(self.number, dim=2)
                if self.packing == "tree"
                else tensor[:, :, self.start :].chunk(self.number)
                for tensor in pair
            ]
            for block, pair in keys.items()
        }
        return [
            {block: (key[copy], value[copy]) for block, (key, value) in pairs.items()}
            for copy in range(self.number)
        ]


@torch.no_grad()
def clean(decoder: Decoder, batch: Batch, needs: Needs, shared: Shared | None = None) -> CleanPass:
    """Run the unedited model over a batch, as far as is needed.

    Args:
        decoder: The model.
        batch: Laid out with the shared prefix first, if there is one.
        needs: What is kept.
        shared: A pass over the prefix; its columns are not computed again.
    """
    start = shared.n if shared else 0
    run, hidden = whole(decoder, batch, start=start)
    run.keys = KeyValues(shared.keys if shared else {}, needs.keys)
    resid: dict[int, Tensor] = {}

    def note(block: int) -> None:
        first = needs.resid.get(block)
        if first is None:
            return
        kept = hidden[:, max(first - start, 0) :]
        if shared and first < start:
            before = shared.resid[block][:, first:].expand(len(hidden), -1, -1)
            kept = torch.cat((before, kept), dim=1)
        resid[block] = kept.clone() if first else kept  # a view would hold all columns

    deep = needs.final or decoder.n_layers - 1 in needs.keys
    top = decoder.n_layers - 1 if deep else max(*needs.resid, needs.keys.stop, 0)
    for block in range(top):
        note(block)
        hidden = run.through(hidden, range(block, block + 1))
    note(top)
    final = run.through_last(hidden, read=needs.final) if deep else None
    if decoder.n_layers in needs.resid:
        assert final is not None, "what leaves the last block is kept where it is read"
        resid[decoder.n_layers] = final
    return CleanPass(batch, resid, run.keys.kept, final)


def share(decoder: Decoder, batch: Batch, needs: Needs) -> Shared:
    """Run the unedited model over a prefix: a batch of one row without continuations."""
    resid = dict.fromkeys((block for block in needs.resid if block < decoder.n_layers), 0)
    done = clean(decoder, batch, Needs(resid, range(decoder.n_layers), final=False))
    return Shared(batch.n_columns, done.resid, done.keys)


@torch.no_grad()
def edited(
    decoder: Decoder,
    done: CleanPass,
    edits: Sequence[tuple[ActivationEdit, ...]],
    block: int,
    column: int,
    packing: Packing = "rows",
    keep_keys: bool = False,
) -> list[EditedPass]:
    """Compute what leaves the last block under each of several edits, where it is read.

    Args:
        decoder: The model.
        done: The unedited pass, with what enters `block` at `column` and, if there are columns
            before it, their keys and values from `block` on.
        edits: For each, its parts in order.
        block: The first block that any of them can change.
        column: The first column that any of them can change.
        packing: How they stand in the pass.
        keep_keys: Whether keys and values are wanted.
    """
    batch, number = done.batch, len(edits)
    if block == decoder.n_layers:
        column = batch.n_prompt - 1  # nothing before it is read
    copies = Copies(batch, column, number, packing)
    applied = Applied(edits, _tokens(batch, column), 1 if packing == "tree" else 0)
    hidden = done.resid[block][:, column - batch.n_columns :]
    hidden = hidden.repeat((1, number, 1) if packing == "tree" else (number, 1, 1))
    hidden = applied(block - 1, "resid_post", hidden)
    kept: list[dict[int, KeyValue]] = [{} for _ in edits]
    if block < decoder.n_layers:
        keep = range(block, decoder.n_layers) if keep_keys else range(0)
        run = Pass(
            decoder,
            copies,
            arguments_of(decoder, copies, column),
            masks_of(decoder, copies),
            KeyValues(_earlier(decoder, done, block, copies), keep),
            applied,
        )
        hidden = run.through(hidden, range(block, decoder.n_layers - 1))
        found = run.through_last(hidden, read=True)
        assert found is not None, "it was read"
        hidden = found
        kept = copies.keys_of_each(run.keys.kept)
    finals = list(hidden.chunk(number, dim=applied.axis))
    if column == batch.n_prompt:  # the last column of the prompts is not in the pass
        assert done.final is not None, "planned"
        finals = [torch.cat((done.final[:, :1], one), dim=1) for one in finals]
    return [EditedPass(final, keys) for final, keys in zip(finals, kept, strict=True)]


def whole(
    decoder: Decoder, batch: Batch, edits: Sequence[ActivationEdit] = (), start: int = 0
) -> tuple["Pass", Float[Tensor, "batch pos d_model"]]:
    """Enter a batch's columns, from one on: a pass, and what enters its first block."""
    mask = None if decoder.packs else batch.attention_mask
    hidden, arguments = decoder.enter(batch.input_ids[:, start:], _positions(batch, start), mask)
    applied = Applied([edits], _tokens(batch, start)) if edits else None
    masks = decoder.masks(batch, start) if decoder.packs else None
    return Pass(decoder, Copies(batch, start), arguments, masks, KeyValues(), applied), hidden


@dataclass
class Pass:
    """Blocks and what they are called with."""

    decoder: Decoder
    copies: Copies
    arguments: Arguments
    masks: Masks | None
    """None where the arguments have the model's own."""
    keys: KeyValues
    applied: Applied | None = None

    def through(self, hidden: Tensor, blocks: range) -> Tensor:
        """Run some blocks on all columns."""
        return self.decoder.blocks_on(
            hidden,
            blocks,
            self.arguments,
            masks=self.masks,
            keys=self.keys,
            applied=self.applied,
        )

    def through_last(self, hidden: Tensor, read: bool) -> Tensor | None:
        """Run the last block for the columns that are read, and keep its keys if wanted."""
        decoder, copies, last = self.decoder, self.copies, self.decoder.n_layers - 1
        first = copies.first_read
        if not decoder.packs or (read and first == 0):
            return copies.of_each(self.through(hidden, range(last, last + 1)), first)
        if self.applied:
            hidden = self.applied(last, "resid_pre", hidden)
        keys = decoder.keys_of(
            hidden, last, self.arguments, masks=self.masks, before=self.keys.before
        )
        if last in self.keys.keep:
            self.keys.kept[last] = keys
        if not read:
            return None
        column = copies.start + first
        applied = self.applied and self.applied.within(last, _tokens(copies.batch, column))
        return decoder.blocks_on(
            copies.of_each(hidden, first),
            range(last, last + 1),
            arguments_of(decoder, copies, column),
            masks=masks_of(decoder, copies, column),
            keys=KeyValues({last: keys}, complete=True),
            applied=applied,
        )


def _tokens(batch: Batch, column: int) -> Tokens:
    return batch.tokens.columns(column, batch.n_columns)


def _positions(batch: Batch, column: int) -> Int[Tensor, "batch_or_1 pos"]:
    """Positions of the columns from one on, once if all rows have the same."""
    if len(batch.indices) == 1 or batch.padded or batch.branched:
        return batch.position_ids[:, column:]
    return batch.tokens.pos[:, column:].amax(0, keepdim=True)


def arguments_of(decoder: Decoder, copies: Copies, column: int) -> Arguments:
    """Find the blocks' arguments for the columns from one on, of each copy."""
    batch, number = copies.batch, copies.number
    if not decoder.packs:  # then a pass holds all columns
        repeated = [
            tensor.repeat(number, 1)
            for tensor in (batch.input_ids, batch.position_ids, batch.attention_mask)
        ]
        return decoder.enter(*repeated)[1]
    positions = _positions(batch, column)
    if copies.packing == "tree":
        positions = positions.repeat(1, number)
    elif len(positions) > 1:
        positions = positions.repeat(number, 1)
    return decoder.enter(torch.zeros_like(positions), positions)[1]


def masks_of(decoder: Decoder, copies: Copies, column: int | None = None) -> Masks | None:
    """Make the masks of the columns from one on, by default all of the pass."""
    if not decoder.packs:
        return None
    column = copies.start if column is None else column
    repeat = copies.number if copies.packing == "rows" else 1
    masks = decoder.masks(copies.batch, copies.start, copies.number // repeat, column)
    return {
        window: mask if mask is None or len(mask) == 1 else mask.repeat(repeat, 1, 1, 1)
        for window, mask in masks.items()
    }


def _earlier(decoder: Decoder, done: CleanPass, block: int, copies: Copies) -> dict[int, KeyValue]:
    """Take the keys and values of the columns before a pass."""
    if copies.start == 0:
        return {}
    repeat = copies.number if copies.packing == "rows" else 1
    return first_columns(done.keys, copies.start, range(block, decoder.n_layers), repeat)
