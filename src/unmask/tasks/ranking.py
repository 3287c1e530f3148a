"""How options given as texts are ranked, and the other rules that are shown beside.

The rule is the sum: an option's whole log-probability after the prompt, which is how likely the
model is to say it. `docs/scoring.md` compares it with the others on real tasks.

- *per token* prefers long names, whose later tokens are nearly certain; it ranks by tokenisation.
- *per byte* does the same to a lesser degree.
- *less prior* subtracts the same option's log-probability after a question that asks nothing: what
  the question adds, whatever the model would say.

All are the same for options of one token each that are equally common.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from unmask.tasks.item import Item, Prompt

Rule = Literal["sum", "per token", "per byte", "less prior"]

RULE: Rule = "sum"
"""The one that counts."""

NOTABLE = 0.1
"""How far another rule's score may be from the one that counts before a reader is warned."""

NEUTRAL = "What is the answer?"
"""The question that asks nothing."""


def without_question(prompt: Prompt) -> Prompt:
    """Return the prompt with a question that asks nothing in place of its question or passage."""
    neutral = Item(NEUTRAL, prompt.item.answer, prompt.item.options)
    return prompt.with_(item=neutral)


def scores_by_rule(
    target: int,
    choices: Sequence[str],
    log_probs: Sequence[float],
    n_tokens: Sequence[int],
    prior: Sequence[float],
) -> Mapping[Rule, float]:
    """Score one question by every rule, each in [0, 1].

    Args:
        target: Index of the option that shows the hidden thing.
        choices: The options.
        log_probs: Log-probability of each option after the prompt, in nats.
        n_tokens: Length of each option in tokens.
        prior: Log-probability of each option after `without_question`, in nats.
    """
    values = np.array(log_probs, dtype=float)
    octets = np.array([len(choice.encode()) for choice in choices])
    ranked: dict[Rule, np.ndarray] = {
        "sum": values,
        "per token": values / np.maximum(n_tokens, 1),
        "per byte": values / octets,
        "less prior": values - np.array(prior, dtype=float),
    }
    return {rule: share_of_first(list(by), target) for rule, by in ranked.items()}


def share_of_first(values: Sequence[float], target: int) -> float:
    """Return 1 if the target alone has the largest value, one over their number if several have."""
    if any(math.isnan(value) for value in values):
        return 1 / len(values)
    best = max(values)
    n_best = sum(value == best for value in values)
    return 1 / n_best if values[target] == best else 0.0


def first_of(values: Sequence[float]) -> int:
    """Return the index of the largest value, the first where several are."""
    return max(range(len(values)), key=lambda index: values[index])
