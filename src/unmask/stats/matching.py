"""Permutation test of whether things belong together as they are said to."""

import numpy as np
from jaxtyping import Float, Int

from .checks import require_finite, require_items
from .signflip import TIE


def matching(
    scores: Float[np.ndarray, "n_items n_labels"],
    own: Int[np.ndarray, " n_items"],
    *,
    rng: np.random.Generator,
    n_permutations: int = 10_000,
) -> float:
    """Test whether items score higher with their own labels than with permuted ones.

    Under the null hypothesis the labels were dealt out at random, whatever the scores, so the sum
    of the items' scores at their own labels is compared with the sums after the labels' names are
    permuted. Items of one label keep it together, so they may depend on each other. What adds to
    all scores of an item adds to every sum, and changes nothing.

    Args:
        scores: How well each label suits each item, in any unit.
        own: Each item's label.
        rng: Draws the permutations.
        n_permutations: The smallest possible p is ``1 / (1 + n_permutations)``.

    Returns:
        The one-sided p-value, in (0, 1].

    Raises:
        ValueError: If there are no items, a score is not finite, or `own` names no label.

    Source: the exact test of a matching, as in Mantel (1967).
    """
    require_items("scores", len(scores), at_least=1)
    require_finite("scores", scores)
    n_labels = scores.shape[1]
    if len(own) != len(scores) or own.min() < 0 or own.max() >= n_labels:
        raise ValueError(
            f"expected a label from 0 to {n_labels - 1} for each of {len(scores)} items, got "
            f"{own.tolist()}. Labels are places among the columns of scores; count from 0."
        )
    sums = np.zeros((n_labels, n_labels))
    np.add.at(sums, own, scores)
    observed = np.trace(sums)
    permuted = rng.permuted(np.tile(np.arange(n_labels), (n_permutations, 1)), axis=1)
    drawn = sums[np.arange(n_labels), permuted].sum(1)
    slack = TIE * (1 + abs(observed))
    return float((1 + (drawn >= observed - slack).sum()) / (1 + n_permutations))
