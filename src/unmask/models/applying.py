"""Several edits in one pass, each on its own part of the tensor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.edits import ActivationEdit, Stream, Tokens

Axis = Literal[0, 1]
"""Along what a pass holds its copies: 0, rows; 1, columns."""


class Applied:
    """The edits of a pass that holds one copy of some rows for each edit."""

    def __init__(
        self, edits: Sequence[Sequence[ActivationEdit]], tokens: Tokens, axis: Axis = 0
    ) -> None:
        """Sort edits by where they act.

        Args:
            edits: For each copy, what is applied to it, in order.
            tokens: The tokens of one copy.
            axis: Along which the copies stand, one behind the other.
        """
        self.axis: Axis = axis
        self.n_copies = len(edits)
        self.tokens = tokens.repeated(len(edits))
        self._at: dict[tuple[int, Stream], list[tuple[ActivationEdit, ...]]] = {}
        self._stacked: dict[tuple[int, Stream], list[ActivationEdit] | None] = {}
        for site in {part.site for parts in edits for part in parts}:
            place = site.layer, site.stream
            self._at[place] = [
                tuple(p for p in parts if (p.site.layer, p.site.stream) == place) for parts in edits
            ]

    @classmethod
    def to_rows(cls, edits: Sequence[Sequence[ActivationEdit]], tokens: Tokens) -> "Applied":
        """Apply to each row its own edits; each has its own tokens."""
        applied = cls(edits, tokens)
        applied.tokens = tokens
        return applied

    def within(self, layer: int, tokens: Tokens) -> "Applied":
        """Return the same edits for fewer tokens, but for those of what enters one block."""
        fewer = Applied((), tokens, self.axis)
        fewer.n_copies, fewer.tokens = self.n_copies, tokens.repeated(self.n_copies)
        fewer._at = {at: edits for at, edits in self._at.items() if at != (layer, "resid_pre")}
        return fewer

    def acts_in(self, layer: int) -> bool:
        """Whether something is changed in a block, before it or after it."""
        return any(place[0] == layer for place in self._at)

    def __call__(
        self, layer: int, stream: Stream, acts: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """Apply what acts at one layer and stream; the tensor itself where nothing does."""
        place = layer, stream
        if place not in self._at:
            return acts
        self.tokens = self.tokens.to(acts.device)
        if self.axis == 0 or self.n_copies == 1:
            return self._changed(place, acts)
        rows, copies = len(acts), self.n_copies
        apart = acts.unflatten(1, (copies, -1)).transpose(0, 1).flatten(0, 1)
        changed = self._changed(place, apart)
        return changed.unflatten(0, (copies, rows)).transpose(0, 1).flatten(1, 2).contiguous()

    def _changed(
        self, place: tuple[int, Stream], acts: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """Apply what acts at one place to copies that stand one behind the other."""
        at = self._at[place]
        if len(at) > 1:
            if place not in self._stacked:
                self._stacked[place] = _stack(at, len(acts) // len(at))
            if (stacked := self._stacked[place]) is not None:
                return _through(stacked, acts, self.tokens)
        elif at[0]:
            return _through(at[0], acts, self.tokens)
        rows = torch.arange(len(acts), device=acts.device).chunk(len(at))
        same: dict[tuple[int, ...], list[int]] = {}  # the same edits are applied once
        for number, parts in enumerate(at):
            same.setdefault(tuple(map(id, parts)), []).append(number)
        changed = acts.clone()
        for numbers in same.values():
            mine = torch.cat([rows[number] for number in numbers])
            changed[mine] = _through(at[numbers[0]], acts[mine], self.tokens.rows(mine))
        return changed

    @contextmanager
    def hooked(self, layer: int, modules: dict[Stream, nn.Module]) -> Iterator[None]:
        """Change what sub-layers of a block return while the context is open."""
        handles = [
            module.register_forward_hook(self._hook(layer, stream))
            for stream, module in modules.items()
            if (layer, stream) in self._at
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int, stream: Stream) -> Any:
        def after(_: nn.Module, __: Any, output: Any) -> Any:
            return with_tensor(output, self(layer, stream, tensor_of(output)))

        return after


def _through(
    edits: Sequence[ActivationEdit], acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
) -> Float[Tensor, "batch pos d_model"]:
    for edit in edits:
        acts = edit.apply(acts, tokens)
    return acts


def _stack(at: Sequence[tuple[ActivationEdit, ...]], n_rows: int) -> list[ActivationEdit] | None:
    """Put the edits of all copies into as many as one copy has; None if that cannot be done.

    Args:
        at: For each copy, its edits.
        n_rows: Number of rows of each copy.
    """
    if len({len(parts) for parts in at}) > 1:
        return None
    stacked = []
    for parts in zip(*at, strict=True):
        cls = type(parts[0])
        if any(type(part) is not cls for part in parts):
            return None
        one = cls.stacked([part for part in parts for _ in range(n_rows)])
        if one is None:
            return None
        stacked.append(one)
    return stacked


def tensor_of(output: Any) -> Tensor:
    """Return the residual stream from what a module returned: a tensor, or a tuple or list."""
    return output if isinstance(output, Tensor) else output[0]


def with_tensor(output: Any, tensor: Tensor) -> Any:
    """Put a residual stream into what a module returned."""
    return tensor if isinstance(output, Tensor) else type(output)((tensor, *output[1:]))
