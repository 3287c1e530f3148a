"""Percentile bootstrap of a mean over items, and seeds within items."""

import numpy as np
from jaxtyping import Float

from .checks import require_count, require_finite, require_items, require_level
from .interval import Interval, percentiles

_CHUNK_ENTRIES = 1 << 21


def bootstrap_mean(
    values: Float[np.ndarray, " n_items"] | Float[np.ndarray, "n_items n_seeds"],
    *,
    rng: np.random.Generator,
    n_boot: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Bound the mean by resampling items, and within each drawn item its seeds.

    Every replicate draws ``n_items`` items with replacement; if values are 2-D, it then draws
    ``n_seeds`` seeds with replacement separately for each drawn item. The seeds' variance is then
    counted a little more than once, so the 2-D interval errs on the wide side. Seeds are taken as
    nested in items: what one seed does to all items alike is not covered by the interval.
    Percentile intervals of few items (below about 20) are somewhat narrow.

    Args:
        values: One value per item, or per item and seed.
        rng: Draws the replicates.
        n_boot: Number of replicates. Cost: ``n_boot * values.size``, in chunks of about 16 MB.
        level: Coverage, strictly between 0 and 1.

    Returns:
        Percentile interval, in the units of `values`.

    Raises:
        ValueError: If a value is NaN or infinite, if there are fewer than 2 items or no seeds, if
            `n_boot` is below 1, or if `level` is out of range.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13; two-stage
    resampling as in Davison & Hinkley (1997), Bootstrap Methods, section 3.8.
    """
    table = values[:, None] if values.ndim == 1 else values
    n_items, n_seeds = table.shape
    require_items("values", n_items)
    if n_seeds == 0:
        raise ValueError(
            f"expected values of at least 1 seed per item, got shape {values.shape}. "
            "Nothing was run at this setting, perhaps; run at least one seed."
        )
    require_finite("values", table)
    require_count("n_boot", n_boot)
    require_level("level", level)
    chunk = max(1, _CHUNK_ENTRIES // table.size)
    means = np.empty(n_boot)
    for start in range(0, n_boot, chunk):
        rows = min(chunk, n_boot - start)
        items = rng.integers(0, n_items, size=(rows, n_items))
        if n_seeds == 1:
            drawn = table[items, 0]
        else:
            seeds = rng.integers(0, n_seeds, size=(rows, n_items, n_seeds))
            drawn = table[items[:, :, None], seeds].mean(axis=2)
        means[start : start + rows] = drawn.mean(axis=1)
    return percentiles(means, level)
