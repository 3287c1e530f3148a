"""An interval of plausible values, and the percentiles that bound one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Interval(NamedTuple):
    """A two-sided confidence interval, both ends included."""

    low: float
    """Lower end, in the units of the estimate."""
    high: float
    """Upper end, in the units of the estimate."""


def percentiles(replicates: Float[np.ndarray, " n_boot"], level: float) -> Interval:
    """Cut ``(1 - level) / 2`` off either end of bootstrap replicates."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
