"""A decoder as its parts: what enters the first block, single blocks, norm and unembedding.

Blocks are the model's own, called one by one with the arguments (rotary tables, masks) that the
model itself computes for them: `Decoder.enter` runs the model with every block skipped and takes
note of what each would be given. So a pass can begin at any block and hold any tokens. When a model
is loaded, `unmask.models.check` makes sure that this gives the bits of the model's own forward
pass; where it does not, `Decoder.exact` is False and every pass is a full one (`Decoder.full`).
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from unmask.edits import ActivationEdit, Edit, Stream, Tokens
from unmask.errors import SettingError, SubjectError
from unmask.models.applying import Applied, tensor_of, with_tensor
from unmask.models.attention import (
    Cache,
    KeyValue,
    KeyValues,
    StopAtKeysError,
    additive,
    needs_mask,
    visible,
)
from unmask.models.batch import Batch
from unmask.models.families import Family, family_of, part, windows

_log = logging.getLogger(__name__)

Arguments = list[dict[str, Any]]
"""For each block, its arguments by name, without the residual stream."""

Masks = dict[int | None, Tensor | None]
"""The attention mask for each width of window; None where causal attention needs none."""

_CACHES = ("cache", "past_key_values", "layer_past")
"""What a block calls the argument with its keys and values: from transformers 5.24 on, up to 5.23,
and in GPT-Neo."""


class Decoder:
    """A transformers model seen as embedding, blocks, norm and unembedding."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Find the model's parts and put it in evaluation mode."""
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
        self.windows = windows(model.config, self.n_layers)
        self.attention = str(getattr(model.config, "_attn_implementation", "eager"))
        self._names = list(inspect.signature(type(blocks[0]).forward).parameters)[1:]
        self.cache_name = next((name for name in _CACHES if name in self._names), None)
        self.has_cache = self.cache_name is not None
        self.exact = True
        """Whether passes block by block give the bits of the model's own forward pass."""
        self.packs = self.has_cache and self.attention in ("sdpa", "eager")
        """Whether attention follows our masks and caches, so that rows can be packed."""

    @property
    def device(self) -> torch.device:
        """Where token ids have to be: the device of the embedding."""
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the residual stream."""
        return self.embedding.weight.dtype

    @property
    def d_vocab(self) -> int:
        """Number of token ids that the embedding knows."""
        return self.embedding.weight.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.embedding.weight.shape[1]

    @torch.no_grad()
    def enter(
        self,
        input_ids: Int[Tensor, "batch pos"],
        position_ids: Int[Tensor, "batch_or_1 pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> tuple[Float[Tensor, "batch pos d_model"], Arguments]:
        """Compute what enters the first block, and the arguments of every block.

        Args:
            input_ids: Tokens.
            position_ids: Their positions.
            attention_mask: For the model to make its own masks of; without it the arguments have
                no mask that means anything, and `blocks_on` has to be given one.
        """
        entered: list[Tensor] = []
        arguments: Arguments = []
        if attention_mask is None:  # four axes: passed on as it is
            attention_mask = input_ids.new_ones((1, 1, 1, 1), dtype=torch.bool)

        def skip(*args: Any, **kwargs: Any) -> Any:
            named = dict(zip(self._names, args, strict=False)) | kwargs
            hidden = named.pop(self._names[0])
            entered.append(hidden)
            arguments.append(named)
            return [hidden] if self.family.returns_list else hidden

        with _calling(skip, self.blocks):
            self._base(input_ids, attention_mask, position_ids)
        return entered[0], arguments

    def masks(
        self, batch: Batch, start: int = 0, copies: int = 1, first: int | None = None
    ) -> Masks:
        """Make the masks of a pass, for each width of window that some block has.

        Args:
            batch: The layout.
            start: First column of the pass.
            copies: How many copies of its columns stand in one row.
            first: First column, of each copy, that attends to others; by default the pass's first.
        """
        first = start if first is None else first
        masks: Masks = {}
        for window in set(self.windows):
            causal = first == 0 and not needs_mask(batch, start, window, copies)
            if causal and self.attention == "sdpa":
                masks[window] = None
                continue
            seen = visible(batch, start, first, window, copies)
            masks[window] = seen if self.attention == "sdpa" else additive(seen, self.dtype)
        return masks

    def blocks_on(
        self,
        hidden: Float[Tensor, "batch pos d_model"],
        layers: range,
        arguments: Arguments,
        *,
        masks: Masks | None = None,
        keys: Cache | None = None,
        applied: Applied | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """Run some blocks; differentiable.

        Args:
            hidden: What enters the first of them, before edits of `resid_pre` there.
            layers: Which blocks.
            arguments: From `enter`, for the same positions.
            masks: From `masks`; without them those in `arguments` are used.
            keys: Earlier keys and values; without them each pass is a whole text.
            applied: Edits to apply.
        """
        for layer in layers:
            named = dict(arguments[layer])
            if masks is not None:
                named["attention_mask"] = masks[self.windows[layer]]
            if self.cache_name:
                named[self.cache_name] = keys
            with self._own_mask_off(layer, masks is not None):
                if applied is None or not applied.acts_in(layer):
                    hidden = tensor_of(self.blocks[layer](hidden, **named))
                    continue
                hidden = applied(layer, "resid_pre", hidden)
                with applied.hooked(layer, self.sublayers(layer)):
                    hidden = tensor_of(self.blocks[layer](hidden, **named))
                hidden = applied(layer, "resid_post", hidden)
        return hidden

    def sublayers(self, layer: int) -> dict[Stream, nn.Module]:
        """Return the modules whose outputs a block adds to the residual stream."""
        block = self.blocks[layer]
        return {
            "attn_out": part(block, self.family.attn_out),
            "mlp_out": part(block, self.family.mlp_out),
        }

    def keys_of(
        self,
        hidden: Float[Tensor, "batch pos d_model"],
        layer: int,
        arguments: Arguments,
        *,
        masks: Masks | None,
        before: Mapping[int, KeyValue],
    ) -> KeyValue:
        """Compute a block's keys and values, those of earlier columns included, and no more.

        Args:
            hidden: What enters the block, edits of `resid_pre` applied.
            layer: Which block.
            arguments: From `enter`, for the same positions.
            masks: From `masks`.
            before: Keys and values of earlier columns, if there are some.
        """
        keys = KeyValues(before, keep=(layer,), stop=True)
        query = part(self.blocks[layer], self.family.query) if self.family.query else None

        def no_query(acts: Tensor) -> Tensor:
            assert isinstance(query, nn.Linear), "`Family.query` names another kind of module"
            return acts.new_zeros(()).expand(*acts.shape[:-1], query.out_features)

        one = range(layer, layer + 1)
        with _calling(no_query, [query] if query else []), suppress(StopAtKeysError):
            self.blocks_on(hidden, one, arguments, masks=masks, keys=keys)
        return keys.kept[layer]

    @contextmanager
    def _own_mask_off(self, layer: int, off: bool) -> Iterator[None]:
        """Let attention see everything by its own mask, so that the one given decides."""
        if not (off and self.family.own_mask):
            yield
            return
        path, _, name = self.family.own_mask.rpartition(".")
        module = part(self.blocks[layer], path)
        kept = getattr(module, name)
        try:
            setattr(module, name, kept.new_ones(()).expand(1, 1, 1 << 20, 1 << 20))
            yield
        finally:
            setattr(module, name, kept)

    @torch.no_grad()
    def full(self, batch: Batch, edit: Edit) -> Float[Tensor, "batch pos d_model"]:
        """Compute what leaves the last block by the model's own forward pass, hooked.

        Slower than `unmask.models.passes`, and independent of it. The batch must not be branched.
        An edit of weights is the caller's to apply, since it changes norm and unembedding too.
        """
        with (
            self.editing(edit.activations, lambda: batch.tokens),
            self.catching() as caught,  # after the edits' hooks, so it sees what they return
        ):
            self._base(batch.input_ids, batch.attention_mask, batch.position_ids)
        return caught[0]

    @contextmanager
    def catching(self) -> Iterator[list[Tensor]]:
        """Collect what leaves the last block at each pass while the context is open."""
        caught: list[Tensor] = []
        hook = self.blocks[-1].register_forward_hook(
            lambda _, __, out: caught.append(tensor_of(out))
        )
        try:
            yield caught
        finally:
            hook.remove()

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Norm and unembed what leaves the last block; float32, differentiable."""
        logits = self.unembedding(self.norm(hidden)).float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    @contextmanager
    def editing(
        self, edits: tuple[ActivationEdit, ...], tokens: Callable[[], Tokens]
    ) -> Iterator[None]:
        """Apply activation edits in every forward pass of the model while the context is open.

        Args:
            edits: In the order of application.
            tokens: Called at each pass: which tokens it holds.

        Raises:
            SettingError: If an edit names a layer that the model does not have.
        """
        self.check_layers(edits)
        with ExitStack() as stack:
            for edit in edits:
                stack.callback(self._hook(edit, tokens).remove)
            yield

    def check_layers(self, edits: tuple[ActivationEdit, ...]) -> None:
        """Check that the model has the layers that edits name.

        Raises:
            SettingError: If it does not.
        """
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
                hidden = edit.apply(kwargs["hidden_states"], tokens())
                return args, {**kwargs, "hidden_states": hidden}

            return block.register_forward_pre_hook(before, with_kwargs=True)
        stream = edit.site.stream
        module = block if stream == "resid_post" else self.sublayers(edit.site.layer)[stream]
        return module.register_forward_hook(
            lambda _, __, out: with_tensor(out, edit.apply(tensor_of(out), tokens()))
        )

    def _base(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> None:
        """Call the model without its unembedding; hooks see what passes."""
        self.model.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **({"use_cache": False} if self.has_cache else {}),
        )


@contextmanager
def _calling(forward: Callable[..., Any], modules: Iterable[nn.Module]) -> Iterator[None]:
    """Call a function in place of some modules; accelerate, too, sets `forward` on a module."""
    kept = [(module, vars(module).get("forward")) for module in modules]
    try:
        for module, _ in kept:
            module.forward = forward
        yield
    finally:
        for module, before in kept:
            if before is not None:
                module.forward = before
            elif "forward" in vars(module):
                del module.forward
