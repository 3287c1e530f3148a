"""What is asked: items, and the prompts made of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from unmask.errors import TaskError
from unmask.hashing import digest, key_bits
from unmask.tasks.faults import fault, show

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

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            TaskError: If a field is blank or not encodable, if there is one option only, if two
                options are equal, or if the answer is not one of the options.
        """
        for field, text in (("question", self.question), ("answer", self.answer)):
            _check_text(field, text)
        _check_encodable("context", self.context)
        for option in self.options:
            _check_text("options", option)
        if self.options:
            _check_options(self.options, self.answer)

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


def check_distinct(options: tuple[str, ...], error: Callable[..., TaskError] = fault) -> None:
    """Raise `error` if two options read the same once blanks around them are removed."""
    seen: set[str] = set()
    for option in options:
        if option.strip() in seen:
            raise error(
                "options",
                "options that differ from each other",
                f"{show(option)} twice",
                "With two equal options the score has no meaning. Change one of them.",
            )
        seen.add(option.strip())


def _check_options(options: tuple[str, ...], answer: str) -> None:
    if len(options) == 1:
        raise fault(
            "options",
            "two options or more",
            f"only {show(options[0])}",
            "The list may have been cut short. Add the others, or leave the field out if the "
            "question is open-ended.",
        )
    check_distinct(options)
    if answer not in options:
        raise fault(
            "answer",
            f"one of the {len(options)} options",
            show(answer),
            f"The options are {', '.join(show(option, 30) for option in options[:6])}"
            f"{', ...' if len(options) > 6 else ''}: the spelling may differ. Write the answer "
            "as in the options, or as its letter, or as its index counted from 0.",
        )


def _check_text(field: str, text: str) -> None:
    if not text.strip():
        raise fault(
            field,
            "a text that is not blank",
            show(text),
            "The record may be cut short, or its columns shifted. Fill in the field or remove the "
            "record.",
        )
    _check_encodable(field, text)


def _check_encodable(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fault(
            field,
            "text that can be written as utf-8",
            f"the lone surrogate {ascii(text[error.start])}",
            "An escape such as \\ud83d was cut from its second half. Write the character itself.",
        ) from None
