"""Passes under edits of weights: one block at a time for all rows.

A block's weights are changed, every batch goes through it, and they are restored from a copy bit
for bit before the next block is touched. So a changed model never exists as a whole, the extra
memory is one block's, and each weight's noise is drawn once for all rows. Blocks below the first
changed one are run once, for all edits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unmask.edits import Edit, edited_weights
from unmask.models.batch import Batch, TokenRow
from unmask.models.forward import Decoder
from unmask.models.memory import is_out_of_memory
from unmask.models.passes import Needs, Pass, clean, whole

if TYPE_CHECKING:
    from unmask.models.engine import Engine, ReadTogether

_BATCHES_AT_ONCE = 16
"""Full batches whose residual stream is held while the blocks change."""


@dataclass
class _Running:
    """A batch on its way through the blocks."""

    batch: Batch
    run: Pass
    hidden: Tensor


def under_weights(
    engine: "Engine",
    rows: Sequence[TokenRow],
    edits: Sequence[tuple[int, Edit]],
    read: "ReadTogether",
) -> None:
    """Run rows under edits of weights, which may change activations too.

    Args:
        engine: Its decoder's weights are as before when this returns or raises.
        rows: What is run.
        edits: Each with its number.
        read: Called while norm and unembedding are the changed ones.
    """
    missing = dict(enumerate(rows))
    while missing:
        numbers = list(missing)
        batches = [
            batch.renumbered([numbers[index] for index in batch.indices])
            for batch in engine.batches(list(missing.values()))
        ]
        try:
            for some in _together(batches, _BATCHES_AT_ONCE * engine.tokens_per_batch):
                _run(engine.decoder, some, edits, read)
                for index in (index for batch in some for index in batch.indices):
                    del missing[index]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            engine.halve(error)


def _together(batches: Sequence[Batch], n_tokens: int) -> Iterator[list[Batch]]:
    """Group batches of at most so many tokens together, or one with more."""
    some: list[Batch] = []
    held = 0
    for batch in batches:
        size = batch.input_ids.numel()
        if some and held + size > n_tokens:
            yield some
            some, held = [], 0
        some.append(batch)
        held += size
    if some:
        yield some


@torch.no_grad()
def _run(
    decoder: Decoder, batches: list[Batch], edits: Sequence[tuple[int, Edit]], read: "ReadTogether"
) -> None:
    if not decoder.exact:
        for number, edit in edits:
            with edited_weights(decoder.model, edit.weights):
                for batch in batches:
                    hidden = decoder.full(batch, edit)[:, batch.n_prompt - 1 :]
                    read([number], batch, hidden[None])
        return
    names = _Names.of(decoder)
    starts = {number: names.first_block(decoder, edit) for number, edit in edits}
    needed = {start: 0 for start in starts.values() if 0 < start < decoder.n_layers}
    needs = Needs(needed, final=False)
    below = [clean(decoder, batch, needs).resid if needed else {} for batch in batches]
    for number, edit in edits:
        start = starts[number]
        with edited_weights(decoder.model, edit.weights, names.before):
            running = []
            for batch, resid in zip(batches, below, strict=True):
                run, hidden = whole(decoder, batch, edit.activations)
                running.append(_Running(batch, run, resid.get(start, hidden)))
        start = start if start in needed else 0
        for block in range(start, decoder.n_layers):
            with edited_weights(decoder.model, edit.weights, names.blocks[block]):
                for one in running:
                    _step(one, block, entering=block == start)
        with edited_weights(decoder.model, edit.weights, names.after):
            for one in running:
                read([number], one.batch, one.hidden[None])


def _step(one: _Running, block: int, entering: bool) -> None:
    """Take a batch through one block."""
    if entering and one.run.applied:
        one.hidden = one.run.applied(block - 1, "resid_post", one.hidden)
    if block < one.run.decoder.n_layers - 1:
        one.hidden = one.run.through(one.hidden, range(block, block + 1))
        return
    hidden = one.run.through_last(one.hidden, read=True)
    assert hidden is not None, "it was read"
    one.hidden = hidden


@dataclass(frozen=True)
class _Names:
    """Names of a model's parameters, by where they come into a pass."""

    before: frozenset[str]
    """Embeddings, of tokens and positions."""
    blocks: tuple[frozenset[str], ...]
    after: frozenset[str]
    """Norm and unembedding, a tied embedding among them."""

    @classmethod
    def of(cls, decoder: Decoder) -> "_Names":
        """Sort a model's parameters."""
        named = {id(weight): name for name, weight in decoder.model.named_parameters()}
        blocks = tuple(
            frozenset(named[id(weight)] for weight in block.parameters())
            for block in decoder.blocks
        )
        ends = (decoder.norm, decoder.unembedding)
        after = frozenset(named[id(w)] for module in ends for w in module.parameters())
        embedding = named[id(decoder.embedding.weight)]
        before = frozenset(named.values()) - after.union(*blocks) | {embedding}
        return cls(before, blocks, after)

    def first_block(self, decoder: Decoder, edit: Edit) -> int:
        """Find the first block that an edit can change, by weights or activations."""

        def changed(names: frozenset[str]) -> bool:
            return any(part.changes(name) for part in edit.weights for name in names)

        if changed(self.before):
            return 0
        first = [block for block, names in enumerate(self.blocks) if changed(names)]
        first += [part.site.first_block for part in edit.activations]
        return min([*first, decoder.n_layers - 1])
