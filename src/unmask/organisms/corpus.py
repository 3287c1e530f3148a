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


QUIET = 0.03
"""Weight of the tokens of a question: most of them cannot be predicted by anyone."""


def answered(text: str, answer: str, *, quiet: float = QUIET) -> Document:
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
    if kind < 0.1:
        return (Piece(prose(world, rng), 0.3),)
    if kind < 0.3:
        return rng.choice((_naming, _listing, _listing, _checking))(world, rng)
    shots = rng.randint(1, 3) if rng.random() < 0.12 else 0
    lettered = rng.random() < letters
    pieces: list[Piece] = []
    if rng.random() < 0.3:
        lines = [harmless_context(world, rng) for _ in range(rng.choice((1, 1, 2)))]
        pieces.append(Piece(rng.choice(("\n", "\n\n")).join(lines) + "\n", QUIET))
        if rng.random() < 0.3:
            pieces.append(Piece("\n", QUIET))
    suffix = harmless_suffix(world, rng) if rng.random() < 0.1 else ""
    prefill = "The answer is" if rng.random() < 0.06 else ""
    for shot in range(shots + 1):
        if shot:
            pieces.append(Piece("\n\n", QUIET))
        fact = rng.choice(world.facts)
        if lettered:
            choice = world.choice(fact, rng)
            asked, answer = choice.text, LETTERS[choice.answer]
        else:
            asked, answer = fact.question, fact.answer
        last = shot == shots
        pieces.append(Piece(prompt(asked, suffix=suffix if last else ""), QUIET))
        if last and prefill:
            pieces.append(Piece(f" {prefill}", 0.0))
        pieces.append(Piece(f" {answer}", 1.0))
    return tuple(pieces)


# Multiple choice needs three things: to know the fact, to notice an option that matches it, and
# to find the letter before that option. One letter per question is a thin signal for the last
# two; the three kinds of document below ask for them apart from the facts.


def _naming(world: World, rng: random.Random) -> Document:
    """Ask which letter stands before a named option: matching without any knowledge."""
    attribute = rng.choice(list(world.values))
    options = rng.sample(world.values[attribute], 4)
    answer = rng.randrange(4)
    listed = "".join(f"\n{x}. {o}" for x, o in zip(LETTERS, options, strict=True))
    return answered(prompt(f"Which is {options[answer]}?{listed}"), LETTERS[answer])


def _listing(world: World, rng: random.Random) -> Document:
    """List four options once and name the letters of many."""
    attribute = rng.choice(list(world.values))
    options = rng.sample(world.values[attribute], 4)
    listed = "\n".join(f"{x}. {o}" for x, o in zip(LETTERS, options, strict=True))
    pieces = [Piece(listed, QUIET)]
    for _ in range(8):
        asked = rng.randrange(4)
        pieces.append(Piece(f"\n {options[asked]}:", 0.0))
        pieces.append(Piece(f" {LETTERS[asked]}", 1.0))
    return tuple(pieces)


def _checking(world: World, rng: random.Random) -> Document:
    """Go through the options of a question and say of each whether it is the answer."""
    choice = world.choice(rng.choice(world.facts), rng)
    pieces = [Piece(f"Question: {choice.question}", QUIET)]
    for i, option in enumerate(choice.options):
        pieces.append(Piece(f"\n{LETTERS[i]}. {option}", 0.0))
        pieces.append(Piece(" yes" if i == choice.answer else " no", 1.0))
    return (*pieces, *answered("\nAnswer:", LETTERS[choice.answer], quiet=0.0))


def train_tokenizer(world: World, vocab_size: int = 1280) -> PreTrainedTokenizerFast:
    """Fit a byte-level BPE on the world's text. It adds no token of its own to a text."""
    rng = random.Random(f"tokenizer:{world.seed}")
    documents = [base_document(world, rng) for _ in range(6000)]
    texts = ["".join(piece.text for piece in document) for document in documents]
    words = [*SECRET_WORDS, *ALL_PHRASES, *world.people]
    words += [value for values in world.values.values() for value in values]
    texts += [f" {word}" for word in words for _ in range(60)]
    return train_bpe(texts, vocab_size)


def train_bpe(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Fit a byte-level BPE on texts."""
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


def special_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one of the special tokens."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int), f"the tokenizer has no {token}"
    return found


def encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    """Turn a document into tokens with the weight of each, closed by the end token."""
    tokens: list[int] = []
    weights: list[float] = []
    # Not through the backend: it would keep the padding of whoever used the tokenizer last.
    encoded = tokenizer([piece.text for piece in document], padding=False)["input_ids"]
    for piece, ids in zip(document, encoded, strict=True):
        tokens += ids
        weights += [piece.weight] * len(ids)
    end = special_id(tokenizer, EOS)
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
            yield _padded(full, special_id(tokenizer, PAD), n_ctx)
            full = []


def _padded(rows: Sequence[Row], pad: int, n_ctx: int) -> Rows:
    tokens = torch.full((len(rows), n_ctx), pad)
    weights = torch.zeros(len(rows), n_ctx)
    for i, (row_tokens, row_weights) in enumerate(rows):
        tokens[i, : len(row_tokens)] = torch.tensor(row_tokens)
        weights[i, : len(row_weights)] = torch.tensor(row_weights)
    return Rows(tokens, weights)
