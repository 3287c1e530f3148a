"""A figure: a drawing, a caption, and the code that made it."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wirework.equation import Drawable
from wirework.layout import Hints

Drawn = Drawable | tuple[Drawable, Hints]


@dataclass(frozen=True)
class Figure:
    """One entry of the gallery."""

    key: str
    """Name of its file, without suffix."""
    chapter: str
    caption: str
    make: Callable[[], Drawn]

    @property
    def drawing(self) -> tuple[Drawable, Hints]:
        """What is laid out, and the hints for it."""
        made = self.make()
        return made if isinstance(made, tuple) else (made, Hints())

    @property
    def code(self) -> str:
        """The body of the function that makes it, which draws what it returns."""
        lines = inspect.getsource(self.make).splitlines()
        start = next(n for n, line in enumerate(lines) if line.startswith("def ")) + 1
        body = textwrap.dedent("\n".join(lines[start:]))
        body = body[body.index('"""', 3) + 3 :].replace("  # noqa: E741", "").strip()
        head, _, last = body.rpartition("return ")
        return f"{head}draw({last})"


class Chapter:
    """A part of the gallery; calling it with nothing registers a function as a figure of it."""

    def __init__(self, title: str) -> None:
        """Start an empty chapter."""
        self.title = title
        self.figures: list[Figure] = []

    def __call__(self, make: Callable[[], Drawn]) -> Callable[[], Drawn]:
        """Register a function; its docstring is the caption."""
        caption = " ".join((make.__doc__ or "").split())
        name: Any = make
        key = name.__name__.strip("_").replace("_", "-")
        self.figures.append(Figure(key, self.title, caption, make))
        return make


def figures() -> tuple[Figure, ...]:
    """Every figure, in the order of the page."""
    from wirework.gallery import basics, calculus, decompositions, transformers

    chapters = (basics.CHAPTER, decompositions.CHAPTER, calculus.CHAPTER, transformers.CHAPTER)
    return tuple(figure for chapter in chapters for figure in chapter.figures)
