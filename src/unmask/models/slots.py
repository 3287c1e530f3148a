"""Texts that are decoded together, one token at a time, each with keys and values in a slot.

All texts end at one column: a new token of every text is written to the next one, and what is
attended to is one slice. A text may enter at any time, its prompt's keys and values put right
before that column, and leave at any time, the last text taking its slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import ActivationEdit, Tokens
from unmask.models.applying import Applied
from unmask.models.attention import KeyValue, additive
from unmask.models.batch import TokenRow
from unmask.models.forward import Decoder, Masks

_SLACK = 64
"""Columns beside those of the longest text: so many steps, or more, until all texts are moved."""


@dataclass(frozen=True, eq=False)
class Prompted:
    """A prompt that was run under an edit: what its text goes on from."""

    number: int
    """Of the edit."""
    index: int
    """Of the row."""
    row: TokenRow
    edits: tuple[ActivationEdit, ...]
    keys: Mapping[int, Sequence[KeyValue]]
    """For each block, keys and values of the prompt, in pieces ``[n_kv_heads pos d_head]``."""
    final: Float[Tensor, " d_model"]
    """What leaves the last block at the prompt's last token."""


class Slots:
    """A cache of a fixed number of texts; stands where a block expects its own."""

    def __init__(self, decoder: Decoder, n_slots: int, n_prompt: int, n_new: int) -> None:
        """Reserve room.

        Args:
            decoder: The model.
            n_slots: Most texts at a time.
            n_prompt: Length of the longest prompt.
            n_new: Most new tokens of a text.
        """
        self.decoder = decoder
        self.n_slots = n_slots
        self.n_columns = n_prompt + n_new + _SLACK
        self.n_prompt = n_prompt
        self.column = n_prompt
        """Where the next token of every text goes."""
        self._starts: list[int] = []
        self._prompted: list[Prompted] = []
        self._keys: dict[int, tuple[Tensor, Tensor]] = {}
        self._applied: Applied | None = None

    def enter(self, prompted: Prompted) -> None:
        """Put a prompt into the first free slot."""
        slot = len(self._prompted)
        for block, pieces in prompted.keys.items():
            if block not in self._keys:
                heads, _, d_head = pieces[0][0].shape
                shape = (self.n_slots, heads, self.n_columns, d_head)
                self._keys[block] = (pieces[0][0].new_zeros(shape), pieces[0][1].new_zeros(shape))
            at = self.column - len(prompted.row.prompt)
            for key, value in pieces:
                here = slice(at, at + key.shape[1])
                self._keys[block][0][slot, :, here] = key
                self._keys[block][1][slot, :, here] = value
                at += key.shape[1]
        self._starts.append(self.column - len(prompted.row.prompt))
        self._prompted.append(prompted)
        self._applied = None

    def leave(self, slot: int) -> None:
        """Free a slot; the last text takes it."""
        last = len(self._prompted) - 1
        if slot != last:
            first = self._starts[last]
            for tensor in (tensor for pair in self._keys.values() for tensor in pair):
                tensor[slot, :, first : self.column] = tensor[last, :, first : self.column]
            self._starts[slot], self._prompted[slot] = self._starts[last], self._prompted[last]
        self._starts.pop()
        self._prompted.pop()
        self._applied = None

    @torch.no_grad()
    def step(self, tokens: Sequence[int]) -> Float[Tensor, "text d_model"]:
        """Run one new token of every text; returns what leaves the last block."""
        decoder = self.decoder
        if self.column == self.n_columns:
            self._move()
        ids = torch.tensor(tokens, device=decoder.device)[:, None]
        starts = torch.tensor(self._starts, device=decoder.device)[:, None]
        pos = self.column - starts
        hidden, arguments = decoder.enter(ids, pos)
        hidden = decoder.blocks_on(
            hidden,
            range(decoder.n_layers),
            arguments,
            masks=self._masks(starts),
            keys=self,
            applied=self._edits(pos),
        )
        self.column += 1
        return hidden[:, 0]

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: object, **__: object
    ) -> KeyValue:
        """Write the new token's keys and values; return those of the texts."""
        some, seen = slice(len(self._prompted)), slice(min(self._starts), self.column + 1)
        keys, values = self._keys[layer_idx]
        keys[some, :, self.column] = key[:, :, 0]
        values[some, :, self.column] = value[:, :, 0]
        return keys[some, :, seen], values[some, :, seen]

    def _masks(self, starts: Tensor) -> Masks:
        """A token sees its own text, as far back as its block looks."""
        first, masks = min(self._starts), Masks()
        same = first == max(self._starts)
        column = torch.arange(first, self.column + 1, device=starts.device)
        for window in set(self.decoder.windows):
            near = window is None or self.column - first < window
            if same and near and self.decoder.attention == "sdpa":
                masks[window] = None
                continue
            seen = column >= starts
            if window is not None:
                seen = seen & (self.column - column < window)
            seen = seen[:, None, None]
            is_bool = self.decoder.attention == "sdpa"
            masks[window] = seen if is_bool else additive(seen, self.decoder.dtype)
        return masks

    def _edits(self, pos: Tensor) -> Applied | None:
        if not any(prompted.edits for prompted in self._prompted):
            return None
        rows = [prompted.row for prompted in self._prompted]
        tokens = Tokens(
            torch.tensor([row.key for row in rows], device=pos.device),
            pos,
            torch.tensor([len(row.prompt) for row in rows], device=pos.device),
        )
        if self._applied is None:  # the texts changed
            self._applied = Applied.to_rows([p.edits for p in self._prompted], tokens)
        self._applied.tokens = tokens
        return self._applied

    def _move(self) -> None:
        """Move all texts towards the first columns, with room left for any prompt."""
        first = min(*self._starts, self.column - self.n_prompt)
        for tensor in (tensor for pair in self._keys.values() for tensor in pair):
            tensor[:, :, : self.column - first] = tensor[:, :, first : self.column].clone()
        self._starts = [start - first for start in self._starts]
        self.column -= first
