"""Whether claimed probabilities come true."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .checks import require_items, require_probabilities
from .exact import clopper_pearson
from .interval import Interval


class Bin(NamedTuple):
    """Cases with about the same claim."""

    claimed: float
    """Mean of the claimed probabilities."""
    happened: float
    """Share in which it happened."""
    interval: Interval
    """95 %, Clopper-Pearson, of the share."""
    n: int


class Reliability(NamedTuple):
    """A reliability diagram in numbers."""

    bins: tuple[Bin, ...]
    """Those with cases, by rising claim."""
    error: float
    """Expected calibration error: mean of |claimed - happened| over bins, weighted by cases."""


def reliability(
    claimed: Float[np.ndarray, " n"], happened: Bool[np.ndarray, " n"], *, n_bins: int = 5
) -> Reliability:
    """Hold claimed probabilities against what happened, in bins of equal width.

    Args:
        claimed: Probabilities.
        happened: Whether it did.
        n_bins: Of the range from 0 to 1.

    Raises:
        ValueError: If there are no cases, or a claim is no probability.

    Source: DeGroot & Fienberg (1983); the expected calibration error as in Naeini et al. (2015).
    """
    require_items("claimed", len(claimed), at_least=1)
    require_probabilities("claimed", claimed)
    places = np.minimum((claimed * n_bins).astype(int), n_bins - 1)
    bins = []
    for place in np.unique(places):
        mine = places == place
        hits, n = int(happened[mine].sum()), int(mine.sum())
        bins.append(Bin(float(claimed[mine].mean()), hits / n, clopper_pearson(hits, n, 0.95), n))
    error = sum(one.n * abs(one.claimed - one.happened) for one in bins) / len(claimed)
    return Reliability(tuple(bins), error)
