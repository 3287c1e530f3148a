"""Run a decoder once, and again from any block on under edits.

A clean pass records what enters each block: the residual stream and the other arguments (rotary
tables, masks). Later passes call the model's own blocks with these arguments, starting at the
first block that an edit can change; everything below it is not computed again. `Decoder.check`
compares such a replay with the clean pass bit for bit when the model is loaded; where they differ,
every pass is a full one and `Decoder.exact` is False.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from unmask.edits import ActivationEdit, Edit, Tokens
from unmask.errors import SettingError, SubjectError
from unmask.models.batch import Batch, TokenRow, pad_left
from unmask.models.families import Family, family_of, part

_log = logging.getLogger(__name__)


@dataclass
class CleanPass:
    """An unedited pass over one batch, recorded so that it can be resumed."""

    batch: Batch
    resid: list[Float[Tensor, "batch pos d_model"]]
    """What enters each block, and, last, what leaves the last one."""
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]
    """The other positional arguments and the keyword arguments of each block."""

    @property
    def n_bytes(self) -> int:
        """Memory held by the recorded residual stream."""
        return sum(resid.nbytes for resid in self.resid)


class Decoder:
    """A transformers model seen as embedding, blocks, norm and unembedding."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Find the model's parts, put it in evaluation mode, and check that replay is exact."""
        self.model = model.eval()
        self.family: Family = family_of(model)
        blocks = part(model, self.family.blocks)
        if not isinstance(blocks, nn.ModuleList):
            raise SubjectError(
                f"expected {self.family.blocks!r} to be a list of blocks, got "
                f"{type(blocks).__name__}. Correct the entry in unmask/models/families.py."
            )
        self.blocks = blocks
        embedding: Any = model.get_input_embeddings()
        self.embedding: nn.Embedding = embedding
        self.norm = part(model, self.family.norm) if self.family.norm else nn.Identity()
        unembedding: Any = model.get_output_embeddings()
        self.unembedding: nn.Module = unembedding
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.n_layers = len(blocks)
        self.exact = self.check()

    @property
    def device(self) -> torch.device:
        """Where token ids have to be: the device of the embedding."""
        return self.embedding.weight.device

    @property
    def d_vocab(self) -> int:
        """Number of token ids that the embedding knows."""
        return self.embedding.weight.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.embedding.weight.shape[1]

    @torch.no_grad()
    def clean(self, batch: Batch) -> CleanPass:
        """Run the unedited model over a batch and record what enters each block."""
        resid: list[Tensor] = []
        arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if args:
                hidden, rest = args[0], args[1:]
            else:
                kwargs = dict(kwargs)
                hidden, rest = kwargs.pop("hidden_states"), ()
            resid.append(hidden)
            arguments.append((rest, dict(kwargs)))

        handles = [b.register_forward_pre_hook(record, with_kwargs=True) for b in self.blocks]
        last = self.blocks[-1].register_forward_hook(lambda _, __, out: resid.append(_tensor(out)))
        try:
            self._base(batch)
        finally:
            for handle in (*handles, last):
                handle.remove()
        return CleanPass(batch, resid, arguments)

    @torch.no_grad()
    def run(self, clean: CleanPass, edit: Edit) -> Float[Tensor, "batch pos d_model"]:
        """Compute what leaves the last block under an edit of activations, resuming a clean pass.

        Cost: the blocks from the edit's first one on.
        """
        if not self.exact:
            return self.full(clean.batch, edit)
        edits = edit.activations
        self._check_layers(edits)
        start = min((e.site.first_block for e in edits), default=self.n_layers)
        hidden = clean.resid[start]
        with self.editing(edits, lambda: clean.batch.tokens, from_block=start):
            for entering in (e for e in edits if e.site.layer < start):
                hidden = entering.apply(hidden, clean.batch.tokens)
            return self._replay(clean, start, hidden)

    def _replay(
        self, clean: CleanPass, start: int, hidden: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """Run the blocks from `start` on with the recorded arguments."""
        for block, (args, kwargs) in zip(self.blocks[start:], clean.arguments[start:], strict=True):
            hidden = _tensor(block(hidden, *args, **kwargs))
        return hidden

    @torch.no_grad()
    def full(self, batch: Batch, edit: Edit) -> Float[Tensor, "batch pos d_model"]:
        """Compute what leaves the last block under an edit of activations, from the token ids.

        An edit of weights is the caller's to apply, since it changes norm and unembedding too.
        """
        with (
            self.editing(edit.activations, lambda: batch.tokens),
            self.catching() as caught,  # after the edits' hooks, so it sees what they return
        ):
            self._base(batch)
        return caught[0]

    @contextmanager
    def catching(self) -> Iterator[list[Tensor]]:
        """Collect what leaves the last block at each pass while the context is open."""
        caught: list[Tensor] = []
        hook = self.blocks[-1].register_forward_hook(lambda _, __, out: caught.append(_tensor(out)))
        try:
            yield caught
        finally:
            hook.remove()

    @torch.no_grad()
    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Norm and unembed what leaves the last block; float32."""
        logits = self.unembedding(self.norm(hidden)).float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    @contextmanager
    def editing(
        self,
        edits: tuple[ActivationEdit, ...],
        tokens: Callable[[], Tokens],
        from_block: int = 0,
    ) -> Iterator[None]:
        """Apply activation edits in every forward pass while the context is open.

        Args:
            edits: In the order of application.
            tokens: Called at each pass: which tokens it holds.
            from_block: Edits at earlier layers are left to the caller.

        Raises:
            SettingError: If an edit names a layer that the model does not have.
        """
        self._check_layers(edits)
        handles = []
        try:
            for edit in edits:
                if edit.site.layer >= from_block:
                    handles.append(self._hook(edit, tokens))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _check_layers(self, edits: tuple[ActivationEdit, ...]) -> None:
        for edit in edits:
            if edit.site.layer >= self.n_layers:
                raise SettingError(
                    f"expected a layer below {self.n_layers} (the model's number of blocks), got "
                    f"{edit.site.layer}. Layers are counted from 0."
                )

    def _hook(self, edit: ActivationEdit, tokens: Callable[[], Tokens]) -> Any:
        block = self.blocks[edit.site.layer]
        if edit.site.stream == "resid_pre":

            def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if args:
                    return (edit.apply(args[0], tokens()), *args[1:]), kwargs
                return args, {
                    **kwargs,
                    "hidden_states": edit.apply(kwargs["hidden_states"], tokens()),
                }

            return block.register_forward_pre_hook(before, with_kwargs=True)
        names = {"attn_out": self.family.attn_out, "mlp_out": self.family.mlp_out}
        stream = edit.site.stream
        module = block if stream == "resid_post" else part(block, names[stream])
        return module.register_forward_hook(
            lambda _, __, out: _with_tensor(out, edit.apply(_tensor(out), tokens()))
        )

    def _base(self, batch: Batch) -> None:
        """Call the model without its unembedding; hooks see what passes."""
        self.model.base_model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            **({"use_cache": False} if self.family.has_cache else {}),
        )

    @torch.no_grad()
    def check(self) -> bool:
        """Whether replaying a clean pass gives the same bits, from every block, with padding."""
        ids = [(7 * i + 3) % self.d_vocab for i in range(9)]
        rows = [TokenRow(tuple(ids)), TokenRow(tuple(ids[:5]))]
        clean = self.clean(pad_left(rows, (0, 1), 0, self.device))
        if len(clean.resid) != self.n_layers + 1:
            return False
        try:
            return all(
                torch.equal(self._replay(clean, start, clean.resid[start]), clean.resid[-1])
                for start in range(self.n_layers)
            )
        except Exception as error:  # whatever a block raises that needs what was not run
            _log.warning("replaying a block failed: %s: %s", type(error).__name__, error)
            return False


def last_positions(
    hidden: Float[Tensor, "batch pos d_model"], n: int
) -> Float[Tensor, "batch {n} d_model"]:
    """Return the last `n` positions: with left padding they are real tokens."""
    return hidden[:, hidden.shape[1] - n :]


def _tensor(output: Any) -> Tensor:
    """Return the residual stream from what a module returned: a tensor, or a tuple or list."""
    return output if isinstance(output, Tensor) else output[0]


def _with_tensor(output: Any, tensor: Tensor) -> Any:
    """Put a residual stream into what a module returned."""
    return tensor if isinstance(output, Tensor) else type(output)((tensor, *output[1:]))
