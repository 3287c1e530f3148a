"""Content hashes: the identity of items, plans, weights and noise keys."""

import hashlib
import json
from typing import Any


def digest(*parts: Any, size: int = 16) -> str:
    """Hash JSON-serialisable values to a hex string of ``2 * size`` characters.

    Equal values give equal digests on every machine and in every process: dictionaries are
    sorted by key and no separator can be forged by a value.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def key_bits(*parts: Any) -> int:
    """Hash JSON-serialisable values to an integer in [0, 2**63)."""
    return int(digest(*parts, size=8), 16) >> 1
