"""How well a score tells two classes apart."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from .checks import (
    require_count,
    require_finite,
    require_items,
    require_level,
    require_same_length,
)
from .interval import Interval, percentiles

_CHUNK = 1024


def auroc(
    positive: Float[np.ndarray, " n_positive"], negative: Float[np.ndarray, " n_negative"]
) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    ``AUROC = U / (n_positive * n_negative)`` with the Mann-Whitney U of the positives.

    Args:
        positive: Scores of the positives (organisms, say).
        negative: Scores of the negatives (twins, say).

    Returns:
        Area under the ROC curve, in [0, 1]; .5 is chance.

    Raises:
        ValueError: If either is empty, or holds NaN or an infinity.

    Source: Hanley & McNeil (1982), Radiology 143:29-36.
    """
    _check_scores(positive, negative)
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    n_positive = len(positive)
    u = ranks[:n_positive].sum() - n_positive * (n_positive + 1) / 2
    return float(u / (n_positive * len(negative)))


def auroc_interval(
    positive: Float[np.ndarray, " n_positive"],
    negative: Float[np.ndarray, " n_negative"],
    *,
    positive_groups: Shaped[np.ndarray, " n_positive"],
    negative_groups: Shaped[np.ndarray, " n_negative"],
    rng: np.random.Generator,
    n_boot: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Bound the AUROC where scores of one group (a model family, say) hang together.

    Resamples whole groups, separately among those with positives only, negatives only, and both,
    so that no replicate lacks a class. One group label in both classes is one group.

    Args:
        positive: Scores of the positives.
        negative: Scores of the negatives.
        positive_groups: Group label of each positive.
        negative_groups: Group label of each negative, of the same kind.
        rng: Draws the replicates.
        n_boot: Number of replicates.
        level: Coverage, strictly between 0 and 1.

    Returns:
        Percentile interval within [0, 1].

    Raises:
        ValueError: If a class is empty or not finite, if scores and labels differ in number, if
            either class has fewer than 2 groups, or if `n_boot` or `level` is out of range.

    Source: cluster bootstrap, Field & Welsh (2007), J. R. Stat. Soc. B 69:369-390.
    """
    _check_scores(positive, negative)
    require_same_length("positive", len(positive), "positive_groups", len(positive_groups))
    require_same_length("negative", len(negative), "negative_groups", len(negative_groups))
    require_count("n_boot", n_boot)
    require_level("level", level)
    _, codes = np.unique(np.concatenate([positive_groups, negative_groups]), return_inverse=True)
    in_positive = np.eye(codes.max() + 1)[codes[: len(positive)]]
    in_negative = np.eye(codes.max() + 1)[codes[len(positive) :]]
    n_positive, n_negative = in_positive.sum(axis=0), in_negative.sum(axis=0)
    for name, counts in (("positive", n_positive), ("negative", n_negative)):
        if (counts > 0).sum() < 2:
            raise ValueError(
                f"expected {name} scores from at least 2 groups, got {int((counts > 0).sum())}. "
                "One group says nothing of how groups differ; add groups, or label each score "
                "as its own group if they are independent."
            )

    # wins[g, h]: how often positives of group g beat negatives of group h, ties half.
    wins = np.zeros((len(n_positive), len(n_positive)))
    for start in range(0, len(positive), _CHUNK):
        rows = slice(start, start + _CHUNK)
        above = 0.5 + 0.5 * np.sign(positive[rows, None] - negative[None, :])
        wins += in_positive[rows].T @ (above @ in_negative)

    times_drawn = np.zeros((n_boot, len(n_positive)))
    strata = 2 * (n_positive > 0) + (n_negative > 0)
    for stratum in np.unique(strata):
        members = np.nonzero(strata == stratum)[0]
        even = np.full(len(members), 1 / len(members))
        times_drawn[:, members] = rng.multinomial(len(members), even, size=n_boot)
    pairs = (times_drawn @ n_positive) * (times_drawn @ n_negative)
    return percentiles(((times_drawn @ wins) * times_drawn).sum(axis=1) / pairs, level)


def _check_scores(
    positive: Float[np.ndarray, " n_positive"], negative: Float[np.ndarray, " n_negative"]
) -> None:
    for name, scores in (("positive", positive), ("negative", negative)):
        require_items(name, len(scores), at_least=1)
        require_finite(name, scores)
