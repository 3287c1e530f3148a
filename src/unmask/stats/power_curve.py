"""Power at several strengths of one secret, from few audits of each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .checks import require_items
from .interval import Interval

GRID = 120
"""Values of each end of the curve."""


class PowerAt(NamedTuple):
    """Power at one strength."""

    power: float
    """Posterior mean of the probability of being found."""
    interval: Interval
    """Of 95 %, credible."""


def power_curve(
    strengths: Sequence[float], found: Sequence[int], audits: Sequence[int]
) -> tuple[PowerAt, ...]:
    """Estimate the probability of being found as a curve that does not fall with strength.

    Log odds are linear in the logarithm of the strength. Both ends of the curve have Jeffreys'
    prior, Beta(1/2, 1/2), cut to those curves that do not fall; with one strength that is Jeffreys'
    estimate of a probability. The posterior is summed over a grid, even under that prior.

    Args:
        strengths: Above 0, each of them once.
        found: Of the audits at each strength, those that found the secret.
        audits: At each strength.

    Returns:
        One entry for each strength.

    Raises:
        ValueError: If there are no strengths, or the counts do not fit.

    Source: quantal dose-response curves (Finney 1947); the prior's restriction is ours.
    """
    require_items("strengths", len(strengths), at_least=1)
    hits, n = np.array(found)[:, None], np.array(audits)[:, None]
    if not len(strengths) == len(hits) == len(n) or (hits < 0).any() or (hits > n).any():
        raise ValueError(
            f"expected for each of {len(strengths)} strengths at most as many found as audits, got "
            f"{list(found)} of {list(audits)}. The counts may belong to other strengths."
        )
    curves = _curves(np.log(np.array(strengths, dtype=float)))
    fit = (hits * np.log(curves) + (n - hits) * np.log1p(-curves)).sum(0)
    weights = np.exp(fit - fit.max())
    weights /= weights.sum()
    return tuple(_summary(row, weights) for row in curves)


def _curves(place: Float[np.ndarray, " strength"]) -> Float[np.ndarray, "strength curve"]:
    """Every curve of the grid, each as likely as any other under the prior."""
    # Jeffreys' prior of a probability p is even in the arcsine of sqrt(p).
    ends = np.sin(np.pi * (np.arange(GRID) + 0.5) / (2 * GRID)) ** 2
    low, high = np.meshgrid(ends, ends, indexing="ij")
    kept = low <= high if len(place) > 1 else low == high
    start, end = (np.log(p[kept] / (1 - p[kept])) for p in (low, high))
    share = (place - place.min()) / max(np.ptp(place), 1e-12)
    return 1 / (1 + np.exp(-(start + share[:, None] * (end - start))))


def _summary(values: Float[np.ndarray, " curve"], weights: Float[np.ndarray, " curve"]) -> PowerAt:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    low, high = (float(values[order][np.searchsorted(below, q)]) for q in (0.025, 0.975))
    return PowerAt(float(values @ weights), Interval(low, high))
