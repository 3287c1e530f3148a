"""What is put to a model and what comes back, as plain values."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Row:
    """One text put to the model."""

    text: str
    """Everything the model reads, with the chat template already applied."""
    choices: tuple[str, ...] = ()
    """Continuations to be scored, each joined to `text` by `join`; empty for generation."""
    key: int = 0
    """Identity of the row for noise, in [0, 2**63): equal keys get equal noise."""
    templated: bool = False
    """Whether a chat template was applied, which wrote its own special tokens into `text`."""


class ChoiceScores(NamedTuple):
    """Log-probabilities of one row's choices."""

    log_probs: tuple[float, ...]
    """Sum over the choice's tokens of their log-probability, in nats."""
    n_tokens: tuple[int, ...]
    """Length of each choice in tokens."""
    parsed: bool
    """Whether the most probable next token begins one of the choices."""


def join(text: str, continuation: str) -> str:
    r"""Put a continuation after a text, with one space between unless the text ends in a space.

    >>> join("Answer:", "B"), join("assistant\n", "B"), join("Once", ", twice")
    ('Answer: B', 'assistant\nB', 'Once, twice')
    """
    if not text or text[-1].isspace() or continuation[:1] in {"", " ", "\n", ",", ".", ";"}:
        return text + continuation
    return f"{text} {continuation}"
