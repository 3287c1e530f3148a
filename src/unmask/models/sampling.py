"""Batched greedy generation under edits."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from unmask.edits import ActivationEdit, Tokens
from unmask.models.batch import Batch
from unmask.models.forward import Decoder


@torch.no_grad()
def greedy(
    decoder: Decoder,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    edits: tuple[ActivationEdit, ...],
    *,
    max_new_tokens: int,
    stop: tuple[str, ...],
) -> list[str]:
    """Generate the most probable continuation of each row.

    Edits see the true position of every token, so noise is fresh at each generated token exactly as
    it would be in one forward pass over the whole text. Families without a cache run the whole
    prefix again at each step.

    Returns:
        The new text of each row, cut before the end token or the first stop string.
    """
    ends = _end_tokens(decoder, tokenizer)
    steps = _Steps(decoder, batch)
    new: list[list[int]] = [[] for _ in batch.indices]
    done = [False] * len(new)
    with decoder.editing(edits, lambda: steps.tokens):
        for _ in range(max_new_tokens):
            chosen = steps.next_tokens()
            for row, token in enumerate(chosen.tolist()):
                if not done[row]:
                    done[row] = token in ends
                    if not done[row]:
                        new[row].append(token)
                        done[row] = _stopped(_decode(tokenizer, new[row]), stop)
            if all(done):
                break
            steps.append(chosen)
    return [_cut(_decode(tokenizer, ids), stop) for ids in new]


class _Steps:
    """The state of a decoding loop: what is fed at the next step, and where it stands."""

    def __init__(self, decoder: Decoder, batch: Batch) -> None:
        self.decoder = decoder
        self.tokens: Tokens = batch.tokens
        self.input_ids: Int[Tensor, "batch pos"] = batch.input_ids
        self.mask = batch.attention_mask
        config: Any = decoder.model.config
        self.cache = DynamicCache(config=config) if decoder.family.has_cache else None

    def next_tokens(self) -> Int[Tensor, " batch"]:
        cached = {} if self.cache is None else {"past_key_values": self.cache, "use_cache": True}
        caught: list[Tensor] = []
        hook = self.decoder.blocks[-1].register_forward_hook(
            lambda _, __, out: caught.append(out if isinstance(out, Tensor) else out[0])
        )
        try:
            self.decoder.model.base_model(
                input_ids=self.input_ids,
                attention_mask=self.mask,
                position_ids=self.tokens.pos.clamp(min=0),
                **cached,
            )
        finally:
            hook.remove()
        return self.decoder.logits(caught[0][:, -1]).argmax(-1).to(self.input_ids.device)

    def append(self, chosen: Int[Tensor, " batch"]) -> None:
        column = chosen[:, None]
        pos = self.tokens.pos[:, -1:] + 1
        self.mask = torch.cat((self.mask, torch.ones_like(column)), dim=1)
        if self.cache is None:
            column = torch.cat((self.input_ids, column), dim=1)
            pos = torch.cat((self.tokens.pos, pos), dim=1)
        self.input_ids = column
        self.tokens = Tokens(self.tokens.keys, pos, self.tokens.n_prompt)


def _end_tokens(decoder: Decoder, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a text: the tokenizer's, and those of the generation settings."""
    configured: Any = getattr(decoder.model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ends, tokenizer.eos_token_id) if isinstance(token, int)}


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _stopped(text: str, stop: tuple[str, ...]) -> bool:
    return any(mark in text.lstrip() for mark in stop)


def _cut(text: str, stop: tuple[str, ...]) -> str:
    """Cut before the first stop string that comes after some text."""
    text = text.lstrip()
    return min((text.split(mark, 1)[0] for mark in stop), key=len, default=text)
