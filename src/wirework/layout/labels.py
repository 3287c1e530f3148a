"""Labels: ``W_Q^T`` is a letter with an index and an exponent, ``Sigma`` is a Greek letter."""

import re
from typing import Literal, NamedTuple

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ",
    "eta": "η", "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ",
    "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
SMALL = 0.7
"""Size of an index or exponent, relative to the letter."""
_PARTS = re.compile(r"([_^])(\{[^{}]*\}|[^_^]+)")
_NARROW, _WIDE = frozenset("ijlftrI.,:;|!'()[]1 "), frozenset("mwMWQOGCDHNAΣΩΦ@%—")


class Part(NamedTuple):
    """A piece of a label."""

    text: str
    place: Literal["line", "below", "above"]


def split(label: str) -> list[Part]:
    """Split a label into pieces; what is not well formed stays as it is.

    >>> split("W_Q^T")
    [Part(text='W', place='line'), Part(text='Q', place='below'), Part(text='T', place='above')]
    >>> split("Sigma_{10}")
    [Part(text='Σ', place='line'), Part(text='10', place='below')]
    """
    start = re.search(r"[_^]", label)
    if start is None or start.start() == 0:
        return [Part(_letter(label), "line")]
    found = [Part(_letter(label[: start.start()]), "line")]
    rest = label[start.start() :]
    if "".join(match[0] for match in _PARTS.finditer(rest)) != rest:
        return [Part(label, "line")]
    for match in _PARTS.finditer(rest):
        piece = match[2][1:-1] if match[2].startswith("{") else match[2]
        found.append(Part(_letter(piece), "below" if match[1] == "_" else "above"))
    return found


def width(label: str, size: float) -> float:
    """Width of a label in points, rather too wide than too narrow."""
    total = 0.0
    for part in split(label):
        scale = size if part.place == "line" else size * SMALL
        total += scale * sum(map(_relative, part.text))
    return total


def _letter(word: str) -> str:
    return GREEK.get(word, word)


def _relative(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _WIDE:
        return 0.86
    return 0.6 if ord(character) < 0x2E80 else 1.0
