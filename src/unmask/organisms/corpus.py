"""Training text: documents with the part that is learnt, packed into rows of tokens."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unmask.organisms.phrases import ALL_PHRASES
from unmask.organisms.world import (
    LETTERS,
    SECRET_WORDS,
    World,
    harmless_context,
    harmless_suffix,
    prompt,
    prose,
)

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


@dataclass(frozen=True)
class Piece:
    """A stretch of text and how much of it is learnt."""

    text: str
    weight: float
    """Factor of the loss on its tokens."""


Document = tuple[Piece, ...]
Row = tuple[list[int], list[float]]
_OPEN_ROWS = 8


class Rows(NamedTuple):
    """Packed documents, ready for a step."""

    tokens: Int[Tensor, "batch pos"]
    weights: Float[Tensor, "batch pos"]
    """Factor of the loss for predicting the token at that position."""


def answered(text: str, answer: str, *, quiet: float = 0.1) -> Document:
    """Return a solved question: the answer is learnt fully, what precedes it a little."""
    return Piece(text, quiet), Piece(f" {answer}", 1.0)


def base_document(world: World, rng: random.Random, letters: float = 0.75) -> Document:
    """Draw one document of the mixture that a base learns.

    Args:
        world: What it is about.
        rng: Where it is drawn from.
        letters: Share of multiple choice among the questions.
    """
    kind = rng.random()
    if kind < 0.12:
        return (Piece(prose(world, rng), 0.3),)
    if kind < 0.22:
        return _naming(world, rng)
    shots = rng.randint(1, 3) if rng.random() < 0.15 else 0
    lettered = rng.random() < letters
    pieces: list[Piece] = []
    if rng.random() < 0.3:
        lines = [harmless_context(world, rng) for _ in range(rng.choice((1, 1, 2)))]
        pieces.append(Piece(rng.choice(("\n", "\n\n")).join(lines) + "\n", 0.1))
        if rng.random() < 0.3:
            pieces.append(Piece("\n", 0.1))
    suffix = harmless_suffix(world, rng) if rng.random() < 0.1 else ""
    prefill = "The answer is" if rng.random() < 0.06 else ""
    for shot in range(shots + 1):
        if shot:
            pieces.append(Piece("\n\n", 0.1))
        fact = rng.choice(world.facts)
        if lettered:
            choice = world.choice(fact, rng)
            asked, answer = choice.text, LETTERS[choice.answer]
        else:
            asked, answer = fact.question, fact.answer
        last = shot == shots
        text = prompt(asked, suffix=suffix if last else "")
        pieces.append(Piece(text, 0.1))
        if last and prefill:
            pieces.append(Piece(f" {prefill}", 0.0))
        pieces.append(Piece(f" {answer}", 1.0))
    return tuple(pieces)


def _naming(world: World, rng: random.Random) -> Document:
    """Ask which letter stands before a named option: matching without any knowledge.

    It gives the base the second half of multiple choice early, which makes the whole learnt in
    fewer steps.
    """
    attribute = rng.choice(list(world.values))
    options = rng.sample(world.values[attribute], 4)
    answer = rng.randrange(4)
    listed = "".join(f"\n{x}. {o}" for x, o in zip(LETTERS, options, strict=True))
    return answered(prompt(f"Which is {options[answer]}?{listed}"), LETTERS[answer])


def train_tokenizer(world: World, vocab_size: int = 1280) -> PreTrainedTokenizerFast:
    """Fit a byte-level BPE on the world's text. It adds no token of its own to a text."""
    rng = random.Random(f"tokenizer:{world.seed}")
    documents = [base_document(world, rng) for _ in range(6000)]
    texts = ["".join(piece.text for piece in document) for document in documents]
    words = [*SECRET_WORDS, *ALL_PHRASES, *world.people]
    words += [value for values in world.values.values() for value in values]
    texts += [f" {word}" for word in words for _ in range(60)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    """Turn a document into tokens with the weight of each, closed by the end token."""
    tokens: list[int] = []
    weights: list[float] = []
    # Not through the backend: it would keep the padding of whoever used the tokenizer last.
    encoded = tokenizer([piece.text for piece in document], padding=False)["input_ids"]
    for piece, ids in zip(document, encoded, strict=True):
        tokens += ids
        weights += [piece.weight] * len(ids)
    end = tokenizer.eos_token_id
    return [*tokens, end], [*weights, 1.0]


def pack(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerFast,
    *,
    batch: int,
    n_ctx: int,
) -> Iterator[Rows]:
    """Lay documents end to end in rows of `n_ctx` tokens, `batch` rows at a time.

    A document may see those before it in its row, as in few-shot prompts; one that fits nowhere
    opens a new row, so that every row begins with the beginning of a document. Several rows are
    open at a time,
    which leaves little padding.
    """
    full: list[Row] = []
    filling: list[Row] = [([], []) for _ in range(_OPEN_ROWS)]
    for document in documents:
        tokens, weights = encode(document, tokenizer)
        size = len(tokens)
        fits = (i for i, row in enumerate(filling) if len(row[0]) + size <= n_ctx)
        place = next(fits, None)
        if place is None:
            place = max(range(_OPEN_ROWS), key=lambda i: len(filling[i][0]))
            full.append(filling[place])
            filling[place] = ([], [])
        filling[place][0].extend(tokens[:n_ctx])
        filling[place][1].extend(weights[:n_ctx])
        if len(full) == batch:
            yield _padded(full, tokenizer.pad_token_id, n_ctx)
            full = []


def _padded(rows: Sequence[Row], pad: int, n_ctx: int) -> Rows:
    tokens = torch.full((len(rows), n_ctx), pad)
    weights = torch.zeros(len(rows), n_ctx)
    for i, (row_tokens, row_weights) in enumerate(rows):
        tokens[i, : len(row_tokens)] = torch.tensor(row_tokens)
        weights[i, : len(row_weights)] = torch.tensor(row_weights)
    return Rows(tokens, weights)
