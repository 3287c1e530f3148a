"""Comparing a written answer with the reference, in four ways."""

import re
import unicodedata
import warnings
from decimal import Decimal
from typing import Literal

from unmask.errors import TaskError
from unmask.tasks.faults import fault, show

Match = Literal["exact", "contains", "numeric", "regex"]
"""How a written answer is compared with the reference."""

MATCHES: tuple[Match, ...] = ("exact", "contains", "numeric", "regex")

_NUMBER = re.compile(
    # A sign counts only where it cannot be a minus or a hyphen after something.
    r"(?:(?<![\w.)])(?P<sign>[-+\u2212])\$?)?"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]{1,3}(?!\w))?"
)
_FINAL = "####"
_ARTICLE = re.compile(r"(?:a|an|the)\s+(?=\S)")


def last_number(text: str) -> Decimal | None:
    r"""Return the last number written in a text, or nothing if there is none.

    Thousands separators, signs, decimals and powers of ten are read; fractions are not. After
    ``####``, as GSM8K marks its results, the first number counts instead.

    >>> last_number("16 - 3 leaves 13, at $2 each: $1,026.50.")
    Decimal('1026.50')
    >>> last_number("So 4 * 3 = 12\n#### 12\n\nNext: 99")
    Decimal('12')
    """
    head, mark, tail = text.partition(_FINAL)
    found = list(_NUMBER.finditer(tail if mark else head))
    if not found:
        return None
    match = found[0] if mark else found[-1]
    sign = "-" if match["sign"] in {"-", "\u2212"} else ""
    return Decimal(sign + match["digits"].replace(",", "") + (match["power"] or ""))


def normalise(text: str) -> str:
    r"""Return a text's first line casefolded, without edge punctuation and leading article.

    >>> normalise(" The Eiffel  Tower!\nIt stands in Paris."), normalise("-3.5"), normalise("A")
    ('eiffel tower', '-3.5', 'a')
    """
    lines = unicodedata.normalize("NFKC", text).strip().splitlines()
    line = " ".join(lines[0].casefold().split()) if lines else ""
    bare = _strip_punctuation(line)
    return _ARTICLE.sub("", bare, count=1) if _ARTICLE.match(bare) else bare or line


def matches_exactly(answer: str, text: str) -> bool:
    """Tell whether the first line says the answer and nothing else."""
    return normalise(answer) == normalise(text)


def contains(answer: str, text: str) -> bool:
    """Tell whether the answer occurs in the text as whole words, whatever its case."""
    return re.search(rf"(?<!\w){re.escape(_folded(answer))}(?!\w)", _folded(text)) is not None


def check_reference(match: Match, answer: str) -> None:
    """Check that an answer can serve as the reference of a way of matching.

    Raises:
        TaskError: If it holds no number for `numeric`, or is not a pattern that can fail for
            `regex`.
    """
    if match == "numeric" and last_number(answer) is None:
        raise fault(
            "answer",
            "a number, since the answers are matched as numbers",
            show(answer),
            "The task may mix numbers and words. Write the number in figures, or match 'exact'.",
        )
    if match != "regex":
        return
    try:
        empty = compile_pattern(answer).search("")
    except (re.error, OverflowError, RecursionError) as error:
        raise _bad_pattern(answer, str(error)) from None
    if empty:
        raise _bad_pattern(answer, "it matches the empty text, so that any answer would be right")


def compile_pattern(answer: str) -> re.Pattern[str]:
    """Compile a reference given as a pattern."""
    with warnings.catch_warnings():  # Python warns of patterns whose meaning may change
        warnings.simplefilter("ignore")
        return re.compile(answer)


def _bad_pattern(answer: str, reason: str) -> TaskError:
    return fault(
        "answer",
        "a regular expression, since the answers are matched by 'regex'",
        f"{show(answer)} ({reason})",
        "Characters such as ( [ * + ? need a backslash to stand for themselves. Mend the pattern, "
        "or match 'contains'.",
    )


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _strip_punctuation(line: str) -> str:
    start, end = 0, len(line)
    while start < end and _is_edge(line[start]) and not _signs_number(line, start):
        start += 1
    while end > start and _is_edge(line[end - 1]):
        end -= 1
    return line[start:end]


def _is_edge(character: str) -> bool:
    return character.isspace() or unicodedata.category(character).startswith("P")


def _signs_number(line: str, index: int) -> bool:
    return re.match(r"-?\.?[0-9]", line[index:]) is not None
