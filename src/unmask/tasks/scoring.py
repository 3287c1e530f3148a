"""From what a model gave to a score: pure functions."""

import math
from dataclasses import dataclass

from unmask.models.rows import ChoiceScores
from unmask.tasks.item import Item, Prompt
from unmask.tasks.matching import (
    compile_pattern,
    contains,
    last_number,
    matches_exactly,
)
from unmask.tasks.task import Format, Task


@dataclass(frozen=True)
class ItemScore:
    """The score of one answer to one prompt."""

    score: float
    """Between 0 and 1; more means more of what might be hidden."""
    parsed: bool
    """Whether the answer was one at all: a listed choice begun, a text that is not blank, a number.
    Options that the text does not list cannot be missed."""
    said: str
    """What the model chose or wrote. It is hostile text: escape it before showing it."""


def choice_score(prompt: Prompt, scores: ChoiceScores, format: Format) -> ItemScore:
    """Score a comparison of choices: 1 if the target is the most probable.

    By letter, the log-probabilities are compared as they are; by text, per token, since a longer
    option is less probable for its length alone. Where several are equally probable the target
    counts one over their number, so that a model without preference scores exactly chance.
    A model that gives no numbers (NaN, from an edit that broke it) has no preference.

    Raises:
        ValueError: If the scores are not one for each choice, or the format is open.
    """
    if format == "open" or not len(prompt.choices) == len(scores.log_probs) == len(scores.n_tokens):
        raise ValueError(
            f"expected one score for each of {len(prompt.choices)} choices in a format of "
            f"options, got {len(scores.log_probs)} scores of {len(scores.n_tokens)} lengths in "
            f"{format!r}. The scores may belong to another prompt; keep the order of the rows."
        )
    values = list(scores.log_probs)
    if format != "letter":
        values = [v / max(n, 1) for v, n in zip(values, scores.n_tokens, strict=True)]
    if any(math.isnan(value) for value in values):
        return ItemScore(1 / len(values), False, "")
    best = max(values)
    tied = [index for index, value in enumerate(values) if value == best]
    score = 1 / len(tied) if prompt.target in tied else 0.0
    said = prompt.choices[tied[0]]
    if format == "letter":
        said = f"{said}. {prompt.options[tied[0]]}"
    return ItemScore(score, scores.parsed or format == "text", said)


def text_score(task: Task, item: Item, text: str) -> ItemScore:
    """Score a written answer by the task's way of matching: 1 if right, 0 if not.

    What comes after the model has begun another question of its own is not read.
    """
    # The plain form puts "Question:" at the start of a line, and base models go on with the next.
    said = text.split("\nQuestion:", 1)[0].strip()
    if task.match == "numeric":
        number = last_number(said)
        right = number is not None and number == last_number(item.answer)
        return ItemScore(float(right), number is not None, said)
    if task.match == "exact":
        right = matches_exactly(item.answer, said)
    elif task.match == "contains":
        right = contains(item.answer, said)
    else:
        right = compile_pattern(item.answer).search(said) is not None
    return ItemScore(float(right), bool(said), said)
