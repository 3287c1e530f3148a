"""Checks of what callers hand to the statistics."""

import numpy as np


def require_finite(name: str, values: np.ndarray) -> None:
    """Raise if any value is NaN or infinite.

    Raises:
        ValueError: If `values` holds NaN or an infinity.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(axis[0]) for axis in np.nonzero(bad))
        raise ValueError(
            f"expected finite numbers in {name}, got {int(bad.sum())} NaN or infinite of "
            f"{values.size} (first at index {first}). The usual cause is an item that was never "
            "scored, or a model that overflowed; score it or drop it from both sides first."
        )


def require_items(name: str, n_items: int, at_least: int = 2) -> None:
    """Raise if there are too few items.

    Raises:
        ValueError: If there are fewer than `at_least` items.
    """
    if n_items < at_least:
        raise ValueError(
            f"expected {name} to have at least {at_least} items, got {n_items}. Too few items were "
            "asked or survived a filter; use a larger task."
        )


def require_level(name: str, value: float) -> None:
    """Raise unless a probability lies strictly between 0 and 1.

    Raises:
        ValueError: If `value` is not strictly between 0 and 1 (NaN included).
    """
    if not 0 < value < 1:
        raise ValueError(
            f"expected 0 < {name} < 1, got {value}. It is a probability, not a percentage: "
            "write .95 for 95 %."
        )


def require_probabilities(name: str, values: np.ndarray) -> None:
    """Raise unless all values lie between 0 and 1, both included.

    Raises:
        ValueError: If a value is NaN, below 0 or above 1.
    """
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(
            f"expected {name} between 0 and 1, got values from {values.min():.3g} to "
            f"{values.max():.3g}. The usual cause is a percentage, or a test that gave NaN; "
            "divide by 100, or look at the test that made them."
        )


def require_count(name: str, value: int) -> None:
    """Raise unless a number of repetitions is positive.

    Raises:
        ValueError: If `value` is below 1.
    """
    if value < 1:
        raise ValueError(
            f"expected {name} of at least 1, got {value}. It is a number of random repetitions; "
            "leave it out for the default."
        )


def require_same_length(first: str, n_first: int, second: str, n_second: int) -> None:
    """Raise unless two arrays speak of the same things.

    Raises:
        ValueError: If the lengths differ.
    """
    if n_first != n_second:
        raise ValueError(
            f"expected {first} and {second} to be of equal length, got {n_first} and {n_second}. "
            "One of them was filtered and the other was not; filter both alike."
        )
