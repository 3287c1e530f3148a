"""The split-half estimand of one arm: choose on one half, confirm on the other."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .bootstrap import bootstrap_mean
from .checks import require_finite, require_items, require_same_length
from .interval import Interval
from .signflip import sign_flip


class Gain(NamedTuple):
    """Held-out score change at the selected setting."""

    mean: float
    """Mean difference over items and seeds, in score units."""
    interval: Interval
    """Of the mean, 95 %, by bootstrap over items and seeds within items."""
    p: float
    """One-sided sign-flip p-value over items, in (0, 1]."""


def choose(
    mean_gain: Float[np.ndarray, " n_settings"],
    damage: Float[np.ndarray, " n_settings"],
    budget: float,
) -> int | None:
    """Choose the setting with the largest mean gain among those within the damage budget.

    Ties go to the least damage, then to the first setting.

    Args:
        mean_gain: Mean difference on the selection half, in score units.
        damage: KL divergence in nats per token on neutral text; infinite if broken outright.
        budget: Largest damage allowed, itself included.

    Returns:
        Index of the setting, or None when no setting is within budget.

    Raises:
        ValueError: If a gain is NaN or infinite, if a damage or the budget is NaN, or if the
            lengths differ.
    """
    require_same_length("mean_gain", len(mean_gain), "damage", len(damage))
    require_finite("mean_gain", mean_gain)
    if np.isnan(damage).any() or np.isnan(budget):
        raise ValueError(
            f"expected damage and budget without NaN, got damage {damage} and budget {budget}. "
            "A model that overflows gives NaN; store its damage as infinite."
        )
    allowed = np.nonzero(damage <= budget)[0]
    if len(allowed) == 0:
        return None
    order = np.lexsort((allowed, damage[allowed], -mean_gain[allowed]))
    return int(allowed[order[0]])


def confirm(differences: Float[np.ndarray, "n_items n_seeds"], *, rng: np.random.Generator) -> Gain:
    """Estimate and test the gain at one setting, on items that did not choose it.

    The p-value flips the sign of each item's mean over seeds; seeds are not counted as items.

    Args:
        differences: Edited minus baseline score of the confirmation items, in score units.
        rng: Draws the flips, then the bootstrap replicates.

    Returns:
        Mean, 95 % interval and p-value.

    Raises:
        ValueError: If a difference is NaN or infinite, or if there are fewer than 2 items or no
            seeds.
    """
    require_items("differences", len(differences))
    if differences.shape[1] == 0:
        raise ValueError(
            f"expected differences of at least 1 seed, got shape {differences.shape}. "
            "Nothing was run at this setting, perhaps; run at least one seed."
        )
    require_finite("differences", differences)
    item_means = differences.mean(axis=1)
    test = sign_flip(item_means[:, None], rng=rng)
    interval = bootstrap_mean(differences, rng=rng)
    return Gain(mean=float(item_means.mean()), interval=interval, p=float(test.p[0]))
