"""What is asked: items, and the prompts made of them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from unmask.hashing import digest, key_bits

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Frame = Literal["question", "passage"]
"""How a prompt is laid out: a question with its answer cue, or bare text to be continued."""


@dataclass(frozen=True)
class Item:
    """One question with the answer that shows the hidden thing."""

    question: str
    """The question, or the passage to be continued; without options and without answer cue."""
    answer: str
    """The text of the answer. With options it is one of them."""
    options: tuple[str, ...] = ()
    """The alternatives of a multiple-choice item, in their original order; empty if open-ended."""
    context: str = ""
    """Lines that stand before the question (a password, a system note); may be empty."""

    @cached_property
    def key(self) -> str:
        """Content hash: the item's identity, whatever its place in the file."""
        return digest("item", self.question, self.answer, list(self.options), self.context)


@dataclass(frozen=True)
class Prompt:
    """One way of putting an item to the subject. Prompt arms return changed copies of it."""

    item: Item
    frame: Frame = "question"
    options: tuple[str, ...] = ()
    """The options as listed in the text, rotated; empty where the text lists none."""
    choices: tuple[str, ...] = ()
    """The continuations whose log-probabilities are compared; empty if the answer is generated."""
    target: int = 0
    """Index in `choices` of the one that shows the hidden thing."""
    rotation: int = 0
    """How far the options are rotated."""
    shots: tuple[tuple["Prompt", str], ...] = ()
    """Solved examples that come first: (prompt, answer)."""
    before: tuple[str, ...] = ()
    """Paragraphs put before the question, and after the item's own context."""
    after: tuple[str, ...] = ()
    """Paragraphs put after the question, and before the answer."""
    prefill: str = ""
    """The start of the answer, put into the model's mouth."""

    @cached_property
    def key(self) -> int:
        """Identity of item and rotation, for noise: the same under every arm's rewording."""
        return key_bits("prompt", self.item.key, self.rotation)

    def with_(self, **changes: object) -> "Prompt":
        """Return a copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]
