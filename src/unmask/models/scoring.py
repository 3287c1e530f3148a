"""Log-probabilities of choices: what is read where, and how it is put together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.models.batch import TokenRow
from unmask.models.forward import Decoder
from unmask.models.rows import ChoiceScores

_LOGITS_AT_ONCE = 1 << 24
"""Most logits held at a time; the vocabulary can be much wider than the residual stream."""


@dataclass(frozen=True)
class Reading:
    """A row of token ids and the tokens whose log-probability is read at its last positions."""

    row: TokenRow
    wanted: tuple[tuple[int, ...], ...]
    """Token ids for each of the last ``len(wanted)`` positions."""


@dataclass(frozen=True)
class Answer:
    """What one reading gave."""

    log_probs: tuple[float, ...]
    """Of the wanted tokens, in their order, in nats."""
    top: int
    """The most probable token at the first position that was read."""


def plan(
    prompt: tuple[int, ...], choices: Sequence[tuple[int, ...]], key: int
) -> tuple[Reading, ...]:
    """Plan one question: one reading if every choice is one token, else one for each choice."""
    if all(len(choice) == 1 for choice in choices):
        return (Reading(TokenRow(prompt, key=key), (tuple(token for (token,) in choices),)),)
    # The last token of a choice predicts nothing that is scored.
    return tuple(
        Reading(TokenRow(prompt, choice[:-1], key), tuple((token,) for token in choice))
        for choice in choices
    )


def collect(choices: Sequence[tuple[int, ...]], answers: Sequence[Answer]) -> ChoiceScores:
    """Put the answers to the readings of one question together."""
    if all(len(choice) == 1 for choice in choices):
        log_probs = answers[0].log_probs
    else:
        log_probs = tuple(sum(answer.log_probs) for answer in answers)
    return ChoiceScores(
        log_probs,
        tuple(len(choice) for choice in choices),
        answers[0].top in {choice[0] for choice in choices},
    )


@torch.no_grad()
def read(
    decoder: Decoder,
    hidden: Float[Tensor, "batch pos d_model"],
    readings: Sequence[Reading],
) -> list[Answer]:
    """Read the wanted log-probabilities of one batch.

    Args:
        decoder: The model.
        hidden: What leaves the last block at (at least) the last positions that are read.
        readings: What is wanted of each row.
    """
    lines = [line for line, reading in enumerate(readings) for _ in reading.wanted]
    places = [place for reading in readings for place in range(-len(reading.wanted), 0)]
    wanted = [ids for reading in readings for ids in reading.wanted]
    device = hidden.device
    chosen = hidden[torch.tensor(lines, device=device), torch.tensor(places, device=device)]
    log_probs: list[tuple[float, ...]] = []
    tops: list[int] = []
    size = max(1, _LOGITS_AT_ONCE // decoder.d_vocab)
    for start in range(0, len(wanted), size):
        logits = decoder.logits(chosen[start : start + size])
        ids = wanted[start : start + size]
        at = torch.tensor([line for line, tokens in enumerate(ids) for _ in tokens])
        flat = torch.tensor([token for tokens in ids for token in tokens])
        at, flat = at.to(logits.device), flat.to(logits.device)
        found = (logits[at, flat] - logits.logsumexp(-1)[at]).cpu().split([len(t) for t in ids])
        log_probs += [tuple(one.tolist()) for one in found]
        tops += logits.argmax(-1).tolist()
    answers, position = [], 0
    for reading in readings:
        mine = log_probs[position : position + len(reading.wanted)]
        answers.append(Answer(tuple(value for one in mine for value in one), tops[position]))
        position += len(reading.wanted)
    return answers
