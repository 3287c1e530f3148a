"""Family-wise error over several arms."""

import numpy as np
from jaxtyping import Float

from .checks import require_probabilities


def holm(p: Float[np.ndarray, " n_arms"]) -> Float[np.ndarray, " n_arms"]:
    """Adjust p-values so that rejecting those below alpha errs at all with probability alpha.

    The k-th smallest of m (from 0) becomes ``min(1, max_{j <= k} (m - j) p_(j))``. Valid under any
    dependence, and never less powerful than Bonferroni. No p-values give none.

    Args:
        p: Each between 0 and 1.

    Returns:
        Adjusted p-values, in the order of `p`.

    Raises:
        ValueError: If a p-value is NaN or outside 0 to 1.

    Source: Holm (1979), Scand. J. Statist. 6:65-70.
    """
    require_probabilities("p", p)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
