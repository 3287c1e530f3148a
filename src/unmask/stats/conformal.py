"""A p-value from scores of cases that are known to be null."""

import math

import numpy as np
from jaxtyping import Float

from .checks import require_items


def conformal_p(score: float, nulls: Float[np.ndarray, " n_nulls"]) -> float:
    """Rank a score among those of nulls.

    ``p = (1 + #{nulls >= score}) / (1 + n_nulls)``. If the score is a null's, too, and exchangeable
    with the others, then p is at most u with a probability of at most u, whatever the scores are.

    Args:
        score: The larger, the less like a null.
        nulls: Scores of nulls that had no part in making `score`.

    Returns:
        A p-value; no smaller than ``1 / (1 + n_nulls)``.

    Raises:
        ValueError: If there are no nulls, or a score is NaN.

    Source: Vovk, Gammerman & Shafer (2005), "Algorithmic Learning in a Random World"; for outliers
    against a calibration set, Bates et al. (2023), Annals of Statistics 51, arXiv:2104.08279.
    """
    require_items("nulls", len(nulls), at_least=1)
    if math.isnan(score) or np.isnan(nulls).any():
        raise ValueError("expected numbers as scores, got NaN. An audit without a score has none.")
    return float(1 + np.sum(nulls >= score)) / (1 + len(nulls))
