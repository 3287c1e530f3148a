"""Exact tests of a number of hits against chance, and the exact interval of a share."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from .checks import require_items, require_level, require_probabilities, require_same_length
from .interval import Interval


def below_chance(
    hits: Bool[np.ndarray, " n_items"], chance: Float[np.ndarray, " n_items"] | float
) -> float:
    """Test whether there are fewer hits than guessing would give.

    ``p = P(K <= k)`` where ``K`` is the number of hits of a guesser, independent between items:
    binomial if the chances are equal, Poisson-binomial otherwise. Both are exact, so that the
    probability of ``p <= alpha`` is at most alpha, and often less as hits are whole numbers.

    Args:
        hits: Whether each item was answered right.
        chance: Probability that a guesser hits, of each item or of all (1 / number of options).

    Returns:
        One-sided p-value in [0, 1].

    Raises:
        ValueError: If there are no items, if a chance is NaN or outside 0 to 1, or if there are
            not as many chances as hits.

    Source: Clopper & Pearson (1934) for equal chances; Hong (2013), Comput. Statist. Data Anal.
    59:41-51, for unequal ones (by direct convolution, ``n_items ** 2`` steps).
    """
    pmf = _hits_pmf(hits, chance)
    return min(1.0, float(pmf[: int(hits.sum()) + 1].sum()))


def above_chance(
    hits: Bool[np.ndarray, " n_items"], chance: Float[np.ndarray, " n_items"] | float
) -> float:
    """Test whether there are more hits than guessing would give.

    ``p = P(K >= k)``; all else as in `below_chance`.

    Args:
        hits: Whether each item was answered right.
        chance: Probability that a guesser hits, of each item or of all.

    Returns:
        One-sided p-value in [0, 1].

    Raises:
        ValueError: As for `below_chance`.
    """
    pmf = _hits_pmf(hits, chance)
    return min(1.0, float(pmf[int(hits.sum()) :].sum()))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Bound a share exactly from `k` hits in `n` trials.

    The ends are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k); with no hits the lower
    end is 0, with hits only the upper end is 1. Coverage is at least `level`.

    Args:
        k: Number of hits.
        n: Number of trials.
        level: Coverage, strictly between 0 and 1.

    Returns:
        Two-sided interval within [0, 1].

    Raises:
        ValueError: Unless ``0 <= k <= n`` and ``n >= 1``, or if `level` is out of range.

    Source: Clopper & Pearson (1934), Biometrika 26:404-413.
    """
    if not (n >= 1 and 0 <= k <= n):
        raise ValueError(
            f"expected 0 <= k <= n and n >= 1, got k={k} and n={n}. Hits and trials may be "
            "swapped, or nothing was tried; check how they were counted."
        )
    require_level("level", level)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - tail, k + 1, n - k))
    return Interval(low, high)


def _hits_pmf(
    hits: Bool[np.ndarray, " n_items"], chance: Float[np.ndarray, " n_items"] | float
) -> Float[np.ndarray, " n_counts"]:
    """Probability of each number of hits, 0 to ``n_items``, under guessing."""
    n_items = len(hits)
    require_items("hits", n_items, at_least=1)
    chances = np.atleast_1d(np.asarray(chance, dtype=float))
    if np.ndim(chance) > 0:
        require_same_length("hits", n_items, "chance", len(chances))
    require_probabilities("chance", chances)
    if np.all(chances == chances[0]):
        return stats.binom.pmf(np.arange(n_items + 1), n_items, chances[0])
    pmf = np.zeros(n_items + 1)
    pmf[0] = 1.0
    for q in chances:
        pmf[1:] = pmf[1:] * (1 - q) + pmf[:-1] * q
        pmf[0] *= 1 - q
    return pmf
