"""Numbers as a report shows them: a true minus sign, few digits, a dash for what is unknown."""

import json
import math
from collections.abc import Mapping
from typing import Any

Number = float | int | None

UNKNOWN = "\u2013"
_MINUS = "\u2212"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def known(value: Number) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def plain(value: Number, digits: int = 3) -> str:
    """A score, a chance line, a damage.

    >>> plain(-0.25, 2), plain(None)
    ('−0.25', '–')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def signed(value: Number, digits: int = 3) -> str:
    """A change, always with its sign."""
    text = plain(value, digits)
    bare = text.strip("0.") == ""
    return text if text == UNKNOWN or text.startswith(_MINUS) or bare else f"+{text}"


def tick(value: float | int) -> str:
    """A value of an axis of changes, as short as it can be.

    >>> tick(0.2), tick(0.0), tick(-0.25)
    ('+0.2', '0', '−0.25')
    """
    return f"{value:+g}".replace("-", _MINUS) if value else "0"


def p_value(value: Number) -> str:
    """A p-value: three decimals, or a power of ten where these would be zero.

    >>> p_value(0.0312), p_value(0.00002)
    ('0.031', '2.0 × 10⁻⁵')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0 or value >= 0.001:
        return "1" if value >= 0.9995 else plain(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def share(value: Number) -> str:
    """A share in per cent."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def duration(seconds: Number) -> str:
    """A time, in the largest two units.

    >>> duration(204.0), duration(3.14)
    ('3 min 24 s', '3.1 s')
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60} h {minutes % 60} min"


def value_text(value: Any) -> str:
    """One value of a setting or of a provenance record."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str | int):
        return str(value)
    return json_text(value, indent=None)


def setting_text(setting: Mapping[str, Any] | None) -> str:
    """A setting on one line; a lone text value needs no name.

    >>> setting_text({"layer": 3, "scale": 0.25})
    'layer 3, scale 0.25'
    """
    if not setting:
        return UNKNOWN
    if len(setting) == 1 and isinstance(only := next(iter(setting.values())), str):
        return only
    return ", ".join(f"{name} {value_text(value)}" for name, value in setting.items())


def json_text(value: Any, indent: int | None = 2) -> str:
    """A record as JSON text for reading; it is neither parsed again nor put into a script."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_readable)


def _readable(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
