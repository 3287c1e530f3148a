"""Rows and edits in, what leaves the last block out: no work is done twice.

The engine plans (`unmask.models.planner`) and runs (`unmask.models.passes`) what a set of rows and
edits needs: the unedited pass once per batch, a prefix that all prompts share once, and from there
only what an edit can change. Callers give a function that reads each result and never see a cache.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import Edit
from unmask.errors import SubjectError
from unmask.models.batch import Batch, TokenRow, lay_out, make_batches
from unmask.models.forward import Decoder
from unmask.models.memory import is_out_of_memory, tokens_within
from unmask.models.passes import Needs, Packing, Shared, clean, edited, share
from unmask.models.planner import Plan, make_plan, shared_prefix
from unmask.models.weight_passes import under_weights

_log = logging.getLogger(__name__)

Read = Callable[[int, Batch, Float[Tensor, "batch read d_model"]], None]
"""Takes an edit's number, a batch, and what leaves the last block at the columns that are read: the
last of the prompts, and those after it. May be called again for the same rows."""

ReadTogether = Callable[[Sequence[int], Batch, Float[Tensor, "edits batch read d_model"]], None]
"""The same for several edits at once."""


class Engine:
    """Runs rows of token ids through a decoder under many edits."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        pad: int = 0,
        tokens_per_batch: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Set the limits.

        Args:
            decoder: The model, checked.
            pad: Token id for padding.
            tokens_per_batch: Most tokens in one pass; by default 2048 on a CPU, where more falls
                out of its caches, and 16384 on a GPU.
            memory: See `limit_memory`.

        Raises:
            SettingError: If the memory does not suffice for a single token.
        """
        self.decoder = decoder
        self.pad = pad
        on_cpu = decoder.device.type == "cpu"
        self.tokens_per_batch = tokens_per_batch or (2048 if on_cpu else 16384)
        if memory is not None:
            self.limit_memory(memory)
        self.packing: Packing | None = None
        """Forces how edits share a pass; None: the cheaper way."""
        self._warned = False

    def limit_memory(self, memory: int) -> None:
        """Put fewer tokens into a pass where it needs that to take no more than so many bytes.

        Counted is what passes take beside the weights.

        Raises:
            SettingError: If the memory does not suffice for a single token.
        """
        self.tokens_per_batch = min(self.tokens_per_batch, tokens_within(self.decoder, memory))

    def under(self, rows: Sequence[TokenRow], edits: Sequence[Edit], read: Read) -> None:
        """Run rows under each of several edits.

        Args:
            rows: With at most one continuation each if the decoder does not pack.
            edits: Of activations, of weights, or both. While an edit of weights is read, norm and
                unembedding are the changed ones.
            read: Called with each result.

        Raises:
            SettingError: If an edit names a layer that the model does not have.
            SubjectError: If there is not memory enough for one row.
        """

        def each(numbers: Sequence[int], batch: Batch, hidden: Tensor) -> None:
            for number, mine in zip(numbers, hidden, strict=True):
                read(number, batch, mine)

        self.under_together(rows, edits, each)

    def under_together(
        self, rows: Sequence[TokenRow], edits: Sequence[Edit], read: ReadTogether
    ) -> None:
        """Run rows under each of several edits; those that share a pass are read together.

        See `under`.
        """
        for edit in edits:
            self.decoder.check_layers(edit.activations)
        acting = [(number, edit) for number, edit in enumerate(edits) if not edit.weights]
        changing = [(number, edit) for number, edit in enumerate(edits) if edit.weights]
        if acting:
            self._under_activations(rows, acting, read)
        if changing:
            under_weights(self, rows, changing, read)

    def _under_activations(
        self, rows: Sequence[TokenRow], edits: Sequence[tuple[int, Edit]], read: ReadTogether
    ) -> None:
        def run(batch: Batch, shared: Shared | None) -> None:
            if self.decoder.exact:
                self._run(batch, edits, read, shared)
                return
            for number, edit in edits:
                hidden = self.decoder.full(batch, edit)[:, batch.n_prompt - 1 :]
                read([number], batch, hidden[None])

        self.each_batch(rows, edits, run)

    def plan(
        self, batch: Batch, edits: Sequence[tuple[int, Edit]], continued: bool = False
    ) -> Plan:
        """Plan the passes over a batch under edits of activations; see `make_plan`."""
        return make_plan(self.decoder, batch, edits, self.tokens_per_batch, self.packing, continued)

    def _share(self, batch: Batch, n_shared: int, needs: Needs) -> Shared:
        prefix = TokenRow(tuple(batch.input_ids[0, :n_shared].tolist()))
        return share(self.decoder, lay_out([prefix], (0,), self.pad, self.decoder.device), needs)

    def _run(
        self,
        batch: Batch,
        edits: Sequence[tuple[int, Edit]],
        read: ReadTogether,
        shared: Shared | None,
    ) -> None:
        plan, of_number = self.plan(batch, edits), dict(edits)
        done = clean(self.decoder, batch, plan.needs, shared)
        if plan.unedited:
            assert done.final is not None, "planned for an edit that changes nothing"
            read(plan.unedited, batch, done.final.expand(len(plan.unedited), -1, -1, -1))
        for group in plan.groups:
            parts = [of_number[number].activations for number in group.numbers]
            results = edited(self.decoder, done, parts, group.block, group.column, group.packing)
            read(group.numbers, batch, torch.stack([result.final for result in results]))

    def batches(self, rows: Sequence[TokenRow], n_shared: int = 0) -> Iterator[Batch]:
        """Group rows into batches of at most `tokens_per_batch` tokens."""
        return make_batches(
            rows,
            tokens_per_batch=self.tokens_per_batch,
            pad=self.pad,
            device=self.decoder.device,
            n_shared=n_shared,
        )

    def each_batch(
        self,
        rows: Sequence[TokenRow],
        edits: Sequence[tuple[int, Edit]],
        run: Callable[[Batch, Shared | None], None],
    ) -> None:
        """Run every batch; where memory does not suffice, halve them and go on.

        Args:
            rows: What is run.
            edits: Of activations, each with its number.
            run: Called with a batch and the unedited pass over a prefix that all prompts share, if
                they do.

        Raises:
            SubjectError: If there is not memory enough for one row.
        """
        n_shared = shared_prefix(rows) if self.decoder.exact and self.decoder.packs else 0
        shared: Shared | None = None
        missing = dict(enumerate(rows))
        while missing:
            numbers = list(missing)
            try:
                for batch in self.batches(list(missing.values()), n_shared):
                    batch = batch.renumbered([numbers[index] for index in batch.indices])
                    if n_shared and shared is None:
                        shared = self._share(batch, n_shared, self.plan(batch, edits).needs)
                    run(batch, shared)
                    for index in batch.indices:
                        del missing[index]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.halve(error)

    def halve(self, error: Exception) -> None:
        """Put half as many tokens into a pass, after one that did not fit into memory.

        Raises:
            SubjectError: If a pass has one token already.
        """
        if self.tokens_per_batch == 1:
            raise SubjectError(
                "expected memory for one row under one edit, got none left, with one row to a "
                "pass. The model leaves too little room; use a smaller --dtype, a larger or more "
                "devices, or shorter items."
            ) from error
        self.tokens_per_batch //= 2
        if self.decoder.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self._warned:
            self._warned = True
            _log.warning(
                "out of memory: from now on at most %d tokens go into a pass, and half as many "
                "after each further time. --memory sets a limit from the start.",
                self.tokens_per_batch,
            )
