"""Hostile text made safe to look at: what would be invisible or reorder the page is spelt out."""

import re
import unicodedata

_KEPT = "\n\t"
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
"""Code points that fonts draw as nothing, beside the control and format characters. The two
variation selectors of everyday emoji (U+FE0E, U+FE0F) are left alone."""

_SPELT = re.compile("\u27e8(?=U\\+)")
"""The bracket of our own labels, so that a text cannot pretend to hold a character it does not."""


def visible(text: str) -> str:
    """Replace characters that cannot be seen, or that reorder text, by labels such as ``⟨U+202E⟩``.

    These are control characters except line feed and tab, format characters (bidirectional
    controls, zero-width characters, tags), line and paragraph separators, lone surrogates and
    noncharacters. Escaping for HTML comes after this and is not done here.

    >>> visible("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _label(c) if _is_hidden(c) else c for c in _SPELT.sub("\u27e8U+27E8\u27e9", text)
    )


def _is_hidden(character: str) -> bool:
    if character in _KEPT:
        return False
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return True
    if category == "Cn":
        return 0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE
    return _IGNORABLE.match(character) is not None


def _label(character: str) -> str:
    return f"\u27e8U+{ord(character):04X}\u27e9"
