"""Log-probabilities of choices: what is read where, and how it is put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import Edit
from unmask.models.batch import Batch, TokenRow
from unmask.models.engine import Engine
from unmask.models.forward import Decoder
from unmask.models.memory import LOGITS_AT_ONCE
from unmask.models.rows import ChoiceScores


class Wanted(NamedTuple):
    """Log-probabilities that are read at one column."""

    column: int
    """Of those that are read: 0 is the prompt's last token, which predicts an answer's first."""
    tokens: tuple[int, ...]
    choices: tuple[int, ...]
    """To which choice each token belongs."""


@dataclass(frozen=True)
class Reading:
    """A row of token ids and what is read of it; the first thing at column 0."""

    row: TokenRow
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class Answer:
    """What one reading gave."""

    log_probs: tuple[tuple[int, float], ...]
    """Choice and log-probability, in nats, of every wanted token."""
    top: int
    """The most probable token at the first column that was read."""


def plan(
    prompt: tuple[int, ...], choices: Sequence[tuple[int, ...]], key: int, packs: bool = True
) -> tuple[Reading, ...]:
    """Plan one question: one reading for all choices if rows can be packed, else one for each.

    Args:
        prompt: Token ids.
        choices: Token ids of each; at least one.
        key: Identity of the row, for noise.
        packs: Whether a row may hold several continuations.
    """
    if packs or all(len(choice) == 1 for choice in choices):
        return (_reading(prompt, dict(enumerate(choices)), key),)
    return tuple(_reading(prompt, {number: choice}, key) for number, choice in enumerate(choices))


def _reading(prompt: tuple[int, ...], choices: dict[int, tuple[int, ...]], key: int) -> Reading:
    # The last token of a choice predicts nothing that is scored.
    continuations = tuple(choice[:-1] for choice in choices.values())
    wanted = [Wanted(0, tuple(choice[0] for choice in choices.values()), tuple(choices))]
    column = 1
    for number, choice in choices.items():
        for token in choice[1:]:
            wanted.append(Wanted(column, (token,), (number,)))
            column += 1
    return Reading(TokenRow(prompt, continuations, key), tuple(wanted))


def collect(choices: Sequence[tuple[int, ...]], answers: Sequence[Answer]) -> ChoiceScores:
    """Put the answers to the readings of one question together."""
    sums = [0.0] * len(choices)
    for answer in answers:
        for choice, log_prob in answer.log_probs:
            sums[choice] += log_prob
    return ChoiceScores(
        tuple(sums),
        tuple(len(choice) for choice in choices),
        answers[0].top in {choice[0] for choice in choices},
    )


def score(engine: Engine, readings: Sequence[Reading], edits: Sequence[Edit]) -> list[list[Answer]]:
    """Answer readings under each of several edits.

    Returns:
        For each edit, for each reading, its answer.
    """
    answers: list[dict[int, Answer]] = [{} for _ in edits]
    readers: dict[tuple[int, ...], Reader] = {}  # of each batch

    def take(numbers: Sequence[int], batch: Batch, hidden: Tensor) -> None:
        if batch.indices not in readers:
            wanted = [readings[index] for index in batch.indices]
            readers[batch.indices] = Reader(engine.decoder, wanted)
        found = readers[batch.indices](hidden)
        for number, mine in zip(numbers, found, strict=True):
            answers[number].update(zip(batch.indices, mine, strict=True))

    engine.under_together([reading.row for reading in readings], edits, take)
    return [[found[index] for index in range(len(readings))] for found in answers]


class Reader:
    """Reads the wanted log-probabilities of one batch.

    The vocabulary is unembedded only where something is read, some rows at a time; a
    log-probability needs all of it, for its normalisation.
    """

    def __init__(self, decoder: Decoder, readings: Sequence[Reading]) -> None:
        """Find where everything is read.

        Args:
            decoder: The model.
            readings: What is wanted of each row.
        """
        self.decoder = decoder
        self.n_lines = len(readings)
        wanted = [(line, one) for line, reading in enumerate(readings) for one in reading.wanted]
        self._lines = [line for line, _ in wanted]
        self._where = torch.tensor([(line, one.column) for line, one in wanted])
        self._choices = [(line, choice) for line, one in wanted for choice in one.choices]
        self._at_once = max(1, LOGITS_AT_ONCE // decoder.d_vocab)
        self._parts = []
        for start in range(0, len(wanted), self._at_once):
            some = [one for _, one in wanted[start : start + self._at_once]]
            rows = [row for row, one in enumerate(some) for _ in one.tokens]
            tokens = [token for one in some for token in one.tokens]
            part = slice(start, start + self._at_once)
            self._parts.append((part, torch.tensor([rows, tokens])))

    @torch.no_grad()
    def __call__(self, hidden: Float[Tensor, "edits batch read d_model"]) -> list[list[Answer]]:
        """Read what leaves the last block, at the columns that are read, under some edits."""
        lines, columns = self._where.to(hidden.device).unbind(1)
        chosen = hidden[:, lines, columns]
        answers: list[list[Answer]] = []
        for some in chosen.split(max(1, self._at_once // len(self._lines))):
            values: list[list[float]] = [[] for _ in some]
            tops: list[list[int]] = [[] for _ in some]
            for part, index in self._parts:
                logits = self.decoder.logits(some[:, part])
                rows, tokens = index.to(logits.device)
                found = logits[:, rows, tokens] - logits.logsumexp(-1)[:, rows]
                for mine, more in zip(values, found.tolist(), strict=True):
                    mine += more
                for mine, more in zip(tops, logits.argmax(-1).tolist(), strict=True):
                    mine += more
            answers += [self._answers(*one) for one in zip(values, tops, strict=True)]
        return answers

    def _answers(self, values: list[float], tops: list[int]) -> list[Answer]:
        """Sort what was read under one edit by rows."""
        pairs: list[list[tuple[int, float]]] = [[] for _ in range(self.n_lines)]
        for (line, choice), value in zip(self._choices, values, strict=True):
            pairs[line].append((choice, value))
        first = dict(zip(reversed(self._lines), reversed(tops), strict=True))
        return [Answer(tuple(found), first[line]) for line, found in enumerate(pairs)]
