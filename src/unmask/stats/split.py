"""Which items choose a setting, and which ones test it."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool


def confirmation_half(keys: Sequence[str], seed: int = 0) -> Bool[np.ndarray, " n_items"]:
    """Split items into a selection and a confirmation half by their content.

    An item's half is one bit of the BLAKE2b hash of its key, so that it depends on no other item,
    nor on their order: adding, dropping or shuffling items moves none across. The halves are
    therefore only about equal. Items of equal key share a half.

    Args:
        keys: The content key of each item.
        seed: Another seed draws other halves.

    Returns:
        True for the items of the confirmation half, in the order of `keys`.

    Raises:
        ValueError: If either half would have fewer than 2 items.

    Source: sample splitting, Cox (1975), "A note on data-dependent selection of hypotheses".
    """
    salt = seed.to_bytes(16, "little", signed=True)
    bits = [
        blake2b(key.encode(), digest_size=1, salt=salt, person=b"unmask-halves").digest()[0] & 1
        for key in keys
    ]
    confirming = np.array(bits, dtype=bool)
    n_confirmation = int(confirming.sum())
    n_selection = len(confirming) - n_confirmation
    if min(n_selection, n_confirmation) < 2:
        raise ValueError(
            "expected at least 2 items in each half, got "
            f"{n_selection} for selection and {n_confirmation} for confirmation out of "
            f"{len(confirming)}. The task is too small, or its items have the same content; "
            "add distinct items (a hundred or more give useful power)."
        )
    return confirming
