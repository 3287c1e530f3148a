"""Hostile text made safe to look at: what would be invisible or reorder the page is spelt out."""

import re
import unicodedata

LONGEST = 160
"""Characters of a label that are drawn; no name in earnest is as long."""
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
"""Code points that fonts draw as nothing, beside the control and format characters."""
_SPELT = re.compile("\u27e8(?=U\\+)")
"""The bracket of our own labels, so that a text cannot pretend to hold a character it does not."""


def visible(text: str) -> str:
    """Spell out characters that cannot be seen or that reorder text, and cut what is too long.

    These are control and format characters (bidirectional controls, zero-width characters, tags),
    separators of lines, lone surrogates and noncharacters; line feeds and tabs become spaces.
    Escaping for SVG or TeX comes after this.

    >>> visible("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'
    """
    text = re.sub(r"\r?\n|\t", " ", text)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(spelt(c) if _is_hidden(c) else c for c in _SPELT.sub("\u27e8U+27E8\u27e9", text))


def spelt(character: str) -> str:
    """A character by its code point: ``⟨U+202E⟩``."""
    return f"\u27e8U+{ord(character):04X}\u27e9"


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return True
    if category == "Cn":
        return 0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE
    return _IGNORABLE.match(character) is not None
