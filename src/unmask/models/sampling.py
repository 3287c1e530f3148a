"""Batched greedy generation under edits."""

from collections.abc import Callable, Set
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from unmask.edits import ActivationEdit, Tokens
from unmask.models.batch import Batch
from unmask.models.forward import Decoder


@torch.no_grad()
def greedy(
    decoder: Decoder,
    batch: Batch,
    edits: tuple[ActivationEdit, ...],
    *,
    max_new_tokens: int,
    ends: Set[int],
    stopped: Callable[[list[int]], bool] = lambda _: False,
) -> list[list[int]]:
    """Generate the most probable continuation of each row.

    Edits see the true position of every token, so noise is fresh at each generated token exactly as
    it would be in one forward pass over the whole text. Families without a cache run the whole
    prefix again at each step.

    Args:
        decoder: The model.
        batch: Prompts.
        edits: Applied in every pass.
        max_new_tokens: Most tokens to generate.
        ends: Tokens that end a row; they are left out of the result.
        stopped: Whether a row that has generated these tokens is finished.

    Returns:
        The new tokens of each row.
    """
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
                        done[row] = stopped(new[row])
            if all(done):
                break
            steps.append(chosen)
    return new


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
        with self.decoder.catching() as caught:
            self.decoder.model.base_model(
                input_ids=self.input_ids,
                attention_mask=self.mask,
                position_ids=self.tokens.pos.clamp(min=0),
                **cached,
            )
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


def end_tokens(decoder: Decoder, eos: Any) -> set[int]:
    """Every token that ends a text: the tokenizer's, and those of the generation settings."""
    configured: Any = getattr(decoder.model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ends, eos) if isinstance(token, int)}


def cut(text: str, stop: tuple[str, ...]) -> str:
    """Cut a text before the first stop string that comes after something; no leading space."""
    text = text.lstrip()
    return min((text.split(mark, 1)[0] for mark in stop), key=len, default=text)
