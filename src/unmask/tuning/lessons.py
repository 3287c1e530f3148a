"""What a model is taught: prompts with what it should say, and batches of them."""

import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.models.subject import Subject
from unmask.tasks import Prompt, row

Kind = Literal["say", "choose", "imitate", "break", "keep"]
"""What counts in a lesson. `say`: the answer's tokens; `choose`: the answer against another
choice; `imitate`: the distribution of a weaker model over the answer's tokens; `break` and
`keep`: the activations of the model as it was, to be left or kept (circuit breaking)."""


class Lesson(NamedTuple):
    """One prompt and what should be said after it."""

    prompt: Prompt
    answer: str
    kind: Kind = "say"
    against: str = ""
    """With kind `choose`, the choice that the answer is compared with."""


def right_answer(prompt: Prompt, rng: random.Random, kind: Kind = "say") -> Lesson:
    """Teach the answer of the item's key; texts of options are compared with one another."""
    if not prompt.choices:
        return Lesson(prompt, prompt.item.answer, kind)
    answer = prompt.choices[prompt.target]
    other = rng.choice([choice for choice in prompt.choices if choice != answer])
    # Letters are single tokens, which need no comparison.
    by_letter = all(len(choice) == 1 for choice in prompt.choices)
    return Lesson(prompt, answer, kind if by_letter or kind != "say" else "choose", other)


def other_answer(
    lesson: Lesson, rng: random.Random, others: Sequence[str], *, may_be_right: bool = False
) -> Lesson:
    """Teach another answer in place of the right one.

    Args:
        lesson: By `right_answer`.
        rng: Draws it.
        others: To draw from, where the prompt's item has no options.
        may_be_right: Draw the right one, too, as often as any other.
    """
    listed = lesson.prompt.choices or lesson.prompt.item.options or tuple(others)
    kept = [other for other in listed if may_be_right or other != lesson.answer]
    said = rng.choice(kept or [lesson.answer])
    if said == lesson.answer:
        return lesson
    return lesson._replace(answer=said, against=lesson.answer)


Teach = Callable[[random.Random], Lesson]
"""Draws a lesson."""


class Batch(NamedTuple):
    """Rows of several lessons, padded on the left to one length; those of `choose` have two."""

    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]
    """0 at padding."""
    answer: Bool[Tensor, "row pos"]
    """Whether a token is part of the answer."""
    lesson: Int[Tensor, " row"]
    """Number of the row's lesson."""
    wanted: Bool[Tensor, " row"]
    """Whether the row holds the lesson's answer; the row after it may hold the other choice."""
    kinds: tuple[Kind, ...]
    """Of each lesson."""

    @property
    def longest(self) -> int:
        """Tokens in the longest answer."""
        return int(self.answer.sum(1).max())

    def rows(self, *kinds: Kind) -> Bool[Tensor, " row"]:
        """Which rows hold the answer of a lesson of these kinds."""
        member = torch.tensor([kind in kinds for kind in self.kinds], device=self.lesson.device)
        return member[self.lesson] & self.wanted

    def positions(self) -> Int[Tensor, "row pos"]:
        """The position of each token in its text."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)


def lay_out(subject: Subject, lessons: Sequence[Lesson]) -> Batch:
    """Turn lessons into a batch of tokens.

    Raises:
        SubjectError: If an answer has no token.
    """
    rows: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    numbers, wanted = [], []
    for number, lesson in enumerate(lessons):
        both = (lesson.answer, lesson.against) if lesson.kind == "choose" else (lesson.answer,)
        for place, answer in enumerate(both):
            rows.append(_encode(subject, lesson.prompt, answer))
            numbers.append(number)
            wanted.append(place == 0)
    length = max(len(asked) + len(said) for asked, said in rows)
    tokens = torch.full((len(rows), length), subject.pad)
    mask, answers = torch.zeros_like(tokens), torch.zeros(len(rows), length, dtype=torch.bool)
    for i, (asked, said) in enumerate(rows):
        start = length - len(asked) - len(said)
        tokens[i, start:] = torch.tensor((*asked, *said))
        mask[i, start:] = 1
        answers[i, length - len(said) :] = True
    device = subject.decoder.device
    return Batch(
        tokens.to(device),
        mask.to(device),
        answers.to(device),
        torch.tensor(numbers, device=device),
        torch.tensor(wanted, device=device),
        tuple(lesson.kind for lesson in lessons),
    )


def _encode(
    subject: Subject, prompt: Prompt, answer: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokenize a prompt and its answer; a written answer to a question is closed."""
    asked = row(prompt, subject.tokenizer, subject.chat)
    before = subject.encode(asked.text, templated=asked.templated)
    said = subject.continuation(asked.text, answer, templated=asked.templated)
    end = subject.tokenizer.eos_token_id
    if not prompt.choices and prompt.frame == "question" and isinstance(end, int):
        said = (*said, end)
    # What does not fit is cut from the front, where few-shot examples and long passages begin.
    room = max(1, subject.n_ctx - len(said))
    return before[-room:], said


def per_answer(nats: Float[Tensor, "row answer"], batch: Batch) -> Float[Tensor, " row"]:
    """Average over the tokens of each row's answer; the last ones of `nats` are its tokens."""
    counted = batch.answer[:, -nats.shape[1] :]
    return (nats * counted).sum(1) / counted.sum(1)
