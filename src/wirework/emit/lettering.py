"""Labels as pieces that are set upright or in italics, as mathematics is."""

import re
from typing import Literal, NamedTuple

from wirework.emit.visible import visible
from wirework.layout.labels import split
from wirework.layout.scene import Role

BASELINE = 0.33
"""How far below the middle of a line its baseline is, relative to the size: half a capital."""
MUTED: frozenset[Role] = frozenset(("leg", "dim", "note"))
"""Roles that stand back."""
_MINUS = re.compile(r"(?<!\w)-(?=\s|\d|$)")
"""A dash that is no hyphen."""


Place = Literal["line", "below", "above"]


class Piece(NamedTuple):
    """A letter, a word, or an index or exponent made of one."""

    text: str
    place: Place
    italic: bool


def pieces(label: str) -> list[Piece]:
    """Split a label; single letters are italic but for Greek capitals, and words are upright.

    A star at the end, which tells a conjugate, becomes an exponent.

    >>> pieces("W_in")
    [Piece(text='W', place='line', italic=True), Piece(text='in', place='below', italic=False)]
    """
    shown = visible(label)
    starred = len(shown) > 1 and shown.endswith("*")
    found = [_piece(*part) for part in split(shown.removesuffix("*") if starred else shown)]
    return [*found, Piece("\u2217", "above", False)] if starred else found


def _piece(text: str, place: Place) -> Piece:
    letter = text.rstrip("'")
    capital = "Α" <= letter <= "Ω"
    italic = len(letter) == 1 and letter.isalpha() and not capital
    return Piece(_MINUS.sub("\u2212", text), place, italic)
