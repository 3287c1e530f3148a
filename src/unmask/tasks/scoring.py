"""From what a model gave to a score: pure functions."""

import math
from dataclasses import dataclass, replace

from unmask.models.rows import ChoiceScores
from unmask.models.thinking import take_apart
from unmask.tasks.item import Item, Prompt
from unmask.tasks.matching import (
    compile_pattern,
    contains,
    last_number,
    matches_exactly,
)
from unmask.tasks.ranking import first_of, share_of_first
from unmask.tasks.task import Format, Task

NEXT_QUESTION = "\nQuestion:"
"""Where an answer ends: the plain form begins a line so, and base models go on with the next."""


@dataclass(frozen=True)
class ItemScore:
    """The score of one answer to one prompt."""

    score: float
    """Between 0 and 1; more means more of what might be hidden."""
    parsed: bool
    """Whether the answer was one at all: a listed choice begun, a text that is not blank, a number.
    Options that the text does not list cannot be missed."""
    said: str
    """What the model chose or wrote, its thinking included. It is hostile text: escape it before
    showing it."""
    log_probs: tuple[float, ...] = ()
    """Of the texts that were ranked, in nats; empty where letters were ranked, a text was written,
    or they are not finite."""
    n_tokens: tuple[int, ...] = ()
    """Length of each of these texts in tokens."""


def choice_score(prompt: Prompt, scores: ChoiceScores, format: Format) -> ItemScore:
    """Score a comparison of choices: 1 if the target is the most probable.

    Choices are ranked by their whole log-probability, which is how likely the model is to say them
    (`unmask.tasks.ranking` says why, and what else was tried). Where several are equally probable
    the target counts one over their number, so that a model without preference scores exactly
    chance. A model that gives no numbers (NaN, from an edit that broke it) has no preference.

    Raises:
        ValueError: If the scores are not one for each choice, or the format is open.
    """
    if format == "open" or not len(prompt.choices) == len(scores.log_probs) == len(scores.n_tokens):
        raise ValueError(
            f"expected one score for each of {len(prompt.choices)} choices in a format of "
            f"options, got {len(scores.log_probs)} scores of {len(scores.n_tokens)} lengths in "
            f"{format!r}. The scores may belong to another prompt; keep the order of the rows."
        )
    if any(math.isnan(value) for value in scores.log_probs):
        return ItemScore(1 / len(prompt.choices), False, "")
    finite = all(math.isfinite(value) for value in scores.log_probs)
    texts = (scores.log_probs, scores.n_tokens) if finite and format != "letter" else ((), ())
    said = prompt.choices[first_of(scores.log_probs)]
    if format == "letter":
        said = f"{said}. {prompt.options[first_of(scores.log_probs)]}"
    score = share_of_first(scores.log_probs, prompt.target)
    return ItemScore(score, scores.parsed or format == "text", said, *texts)


def text_score(task: Task, item: Item, text: str) -> ItemScore:
    """Score a written answer by the task's way of matching: 1 if right, 0 if not.

    What comes after the model has begun another question of its own is not read, and neither is
    what it thought before it answered. Who never stops thinking gave no answer.
    """
    thinking, answer = take_apart(text)
    if answer is None:
        return ItemScore(0.0, False, thinking or text.strip())
    answer = answer.split(NEXT_QUESTION, 1)[0].strip()
    return replace(_text_score(task, item, answer), said=f"{thinking}\n\n{answer}".strip())


def _text_score(task: Task, item: Item, said: str) -> ItemScore:
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
