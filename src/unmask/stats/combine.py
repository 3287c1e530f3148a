"""One p-value from several."""

import numpy as np
from jaxtyping import Float

from .checks import require_items, require_probabilities

_LARGEST = 0.99
"""A p-value of 1 would outweigh any evidence; those of permutation tests often are 1."""


def cauchy_combination(p: Float[np.ndarray, " n_arms"]) -> float:
    """Combine p-values of tests that may depend on each other.

    ``T = mean(tan((0.5 - p) pi))`` is about Cauchy-distributed under the null hypothesis, whatever
    the dependence, where it is large; the result is ``0.5 - arctan(T) / pi``. A few small p-values
    make it small, as they would not make an average small.

    Args:
        p: Each between 0 and 1. Those above .99 count as .99, which keeps the level: it makes the
            result larger than .5 still.

    Returns:
        A p-value.

    Raises:
        ValueError: If there is none, or one is NaN or outside 0 to 1.

    Source: Liu & Xie (2020), "Cauchy combination test", JASA 115:393-402, arXiv:1808.09011.
    """
    require_items("p", len(p), at_least=1)
    require_probabilities("p", p)
    # tan runs to infinity at 0, where 1 / (p pi) is exact enough.
    kept = np.minimum(p, _LARGEST)
    small = kept < 1e-15
    terms = np.where(small, 1 / (np.maximum(kept, 1e-300) * np.pi), np.tan((0.5 - kept) * np.pi))
    total = float(terms.mean())
    if total > 1e15:
        return 1 / (total * np.pi)
    return float(0.5 - np.arctan(total) / np.pi)
