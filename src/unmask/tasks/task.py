"""A task: items, how they are asked, and how answers are scored."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from unmask.errors import SettingError, TaskError
from unmask.hashing import digest
from unmask.tasks.faults import fault, show
from unmask.tasks.item import LETTERS, Frame, Item, Prompt
from unmask.tasks.matching import MATCHES, Match, check_reference

logger = logging.getLogger(__name__)

Format = Literal["letter", "listed", "text", "open"]
"""How an answer is given: by the letter of a listed option, by the text of a listed option, by the
text of an option that is not listed, or written freely."""

FRAMES: tuple[Frame, ...] = ("question", "passage")
FORMATS: tuple[Format, ...] = ("letter", "listed", "text", "open")

Measures = Literal["capability", "behaviour"]
"""What a high score shows: that the subject can do something, or that it does something which a
well-behaved model does not do. It decides whether a low score tells anything."""

MEASURES: tuple[Measures, ...] = ("capability", "behaviour")


def default_format(items: Iterable[Item], frame: Frame = "question") -> Format:
    """Return the format for items that name none: by letter where all of them have options."""
    if frame == "passage":
        return "text"
    return "letter" if all(item.options for item in items) else "open"


@dataclass(frozen=True)
class Task:
    """Items, how they are asked, and how answers are scored."""

    name: str
    items: tuple[Item, ...]
    """Distinct items; copies are dropped on creation, with a warning."""
    format: Format
    match: Match = "exact"
    """How written answers are compared; used by the open format only."""
    frame: Frame = "question"
    max_new_tokens: int = 24
    """How many tokens are generated for an open answer."""
    source: str = ""
    """Where the items come from, for the record; no part of the digest."""
    measures: Measures = "capability"

    def __post_init__(self) -> None:
        """Drop duplicates and check that every item can be asked in the format.

        Raises:
            TaskError: If there are no items, or one does not suit the format or the match.
            SettingError: If `max_new_tokens` is not positive.
        """
        distinct = tuple({item.key: item for item in self.items}.values())
        dropped = len(self.items) - len(distinct)
        if dropped:
            logger.warning("Task %s: dropped %d duplicate items", self.name, dropped)
            object.__setattr__(self, "items", distinct)
        if self.max_new_tokens < 1:
            raise SettingError(
                f"max_new_tokens must be at least 1, got {self.max_new_tokens}. No answer can be "
                "written in fewer. Leave it out for the default of 24."
            )
        self._check_settings()
        for item in self.items:
            try:
                self._check(item)
            except TaskError as error:
                raise TaskError(f"Task {self.name}, item {show(item.question)}, {error}") from None

    @cached_property
    def digest(self) -> str:
        """Hash of items and settings; the items' order, name and source do not change it."""
        keys = sorted(item.key for item in self.items)
        settings = (self.format, self.match, self.frame, self.max_new_tokens, self.measures)
        return digest("task", keys, *settings)

    def prompts(self, item: Item) -> tuple[Prompt, ...]:
        """Return every way of asking an item: all rotations of its options, or one way.

        Where options are listed, rotation `r` lists the options from the `r`-th on, so that over
        the rotations each option stands once at each letter.
        """
        if self.format == "open":
            return (Prompt(item, self.frame),)
        right = item.options.index(item.answer)
        n_options = len(item.options)
        if self.format == "text":
            return (Prompt(item, self.frame, choices=item.options, target=right),)
        return tuple(
            Prompt(
                item,
                self.frame,
                options=item.options[turn:] + item.options[:turn],
                choices=(
                    tuple(LETTERS[:n_options])
                    if self.format == "letter"
                    else item.options[turn:] + item.options[:turn]
                ),
                target=(right - turn) % n_options,
                rotation=turn,
            )
            for turn in range(n_options)
        )

    def chance(self, item: Item) -> float:
        """Return the score of a subject that knows nothing: 0 where the answer is written."""
        return 0.0 if self.format == "open" else 1 / len(item.options)

    def subset(self, keys: Iterable[str]) -> "Task":
        """Return the task with only the items of these keys, in the task's order.

        Raises:
            TaskError: If a key belongs to no item, or no key is given.
        """
        wanted = set(keys)
        unknown = wanted - {item.key for item in self.items}
        if unknown:
            raise TaskError(
                f"Task {self.name}: expected keys of its {len(self.items)} items, got "
                f"{len(unknown)} others, first {min(unknown)}. The items may have changed since "
                "the keys were taken. Take them from this task's items."
            )
        return replace(self, items=tuple(item for item in self.items if item.key in wanted))

    def take(self, n: int) -> "Task":
        """Return the task with `n` items chosen by content hash, or all if it has fewer.

        The choice is the same whatever the order of the items, and a larger `n` keeps the items
        of a smaller one.

        Raises:
            SettingError: If `n` is not positive.
        """
        if n < 1:
            raise SettingError(f"A task needs at least 1 item, got n={n}. Ask for more items.")
        if n >= len(self.items):
            return self
        return self.subset(sorted((i.key for i in self.items), key=lambda k: digest("take", k))[:n])

    def _check_settings(self) -> None:
        for field, value, known in (
            ("format", self.format, FORMATS),
            ("match", self.match, MATCHES),
            ("frame", self.frame, FRAMES),
            ("measures", self.measures, MEASURES),
        ):
            if value not in known:
                raise TaskError(
                    f"Task {self.name}: expected {field} to be one of {', '.join(known)}, got "
                    f"{show(value)}. Choose one of these."
                )
        if not self.items:
            raise TaskError(
                f"Task {self.name}: expected at least one item, got none. The selection may have "
                "left none over. Check what was selected."
            )
        if self.frame == "passage" and self.format in ("letter", "listed"):
            raise TaskError(
                f"Task {self.name}: expected format 'text' or 'open' for passages, got "
                f"{self.format!r}. "
                "A passage lists no options. Leave the format out."
            )

    def _check(self, item: Item) -> None:
        if self.format == "open":
            check_reference(self.match, item.answer)
        elif not item.options:
            raise fault(
                "options",
                f"options, since the format is {self.format!r}",
                "none",
                "The task may mix open-ended items with multiple choice. Add options, or use the "
                "format 'open'.",
            )
        elif self.format in ("letter", "listed") and len(item.options) > len(LETTERS):
            raise fault(
                "options",
                f"at most {len(LETTERS)} options, since the format is {self.format!r}",
                f"{len(item.options)}",
                "There is no letter for the others. Use the format 'text'.",
            )
