"""What would have been caught: power of the confirmation test for a planted gain."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .checks import (
    require_count,
    require_finite,
    require_items,
    require_level,
    require_probabilities,
    require_same_length,
)
from .exact import clopper_pearson
from .interval import Interval
from .signflip import TIE, is_exact, sign_chunks

_GRID_STEP = 0.01


class Power(NamedTuple):
    """Probability that a gain of a given size is found."""

    power: float
    """Share of simulated audits with ``p <= alpha``."""
    interval: Interval
    """Monte-Carlo error of `power`: exact 95 % interval of that share."""


def detection_power(
    baseline: Float[np.ndarray, " n_items"],
    differences: Float[np.ndarray, " n_items"],
    effect: float,
    *,
    alpha: float = 0.05,
    rng: np.random.Generator,
    n_sim: int = 500,
    n_flips: int = 1000,
) -> Power:
    """Simulate how often the confirmation test would find a gain of size `effect`.

    The null noise of an item is its observed difference less their mean, ``e_i``. Every simulated
    data set draws items with replacement and turns each one that has room (score below 1)
    fully right with probability ``q``: its difference becomes ``1 - baseline_i`` in place of
    ``e_i``. ``q = effect / room`` with ``room = sum_{with room}(1 - baseline_i - e_i) / n_items``,
    so that the expected mean difference is `effect`. The data sets share their flips, which makes
    the test one matrix product of ``n_flips x n_items`` and ``n_items x n_sim``.

    Args:
        baseline: Unedited score of each confirmation item, in [0, 1].
        differences: Edited minus baseline score of the same items at the selected setting.
        effect: Mean gain to be planted, from 0 to the room.
        alpha: Level of the test; divide it by the number of arms to allow for Holm.
        rng: Draws items, turned items and flips.
        n_sim: Number of simulated data sets.
        n_flips: Number of flips per test.

    Returns:
        Power with its Monte-Carlo interval.

    Raises:
        ValueError: If lengths differ, a number is NaN or infinite, a baseline is outside 0 to 1,
            there are fewer than 2 items, `effect` is negative or above the room, `alpha` is out of
            range, or `n_flips` is too small for any p-value to reach `alpha`.
    """
    room = _room(baseline, differences)
    require_level("alpha", alpha)
    require_count("n_sim", n_sim)
    require_count("n_flips", n_flips)
    if not 0 <= effect <= room + 1e-12:
        raise ValueError(
            f"expected an effect between 0 and the room of {max(room, 0.0):.3g}, got {effect:.3g}. "
            "The room is the mean gain if every item below score 1 were fully right; ask for a "
            "smaller effect, or use a task on which the baseline is lower."
        )
    n_items = len(baseline)
    if not is_exact(n_items, n_flips) and alpha * (1 + n_flips) < 1:
        raise ValueError(
            f"expected n_flips of at least {int(np.ceil(1 / alpha)) - 1} for alpha={alpha:.3g}, "
            f"got {n_flips}. No p-value could be as small as alpha; raise n_flips."
        )

    drawn = rng.integers(0, n_items, size=(n_items, n_sim))
    turned = rng.random((n_items, n_sim)) < (effect / room if effect > 0 else 0.0)
    noise = differences - differences.mean()
    gains = np.where(turned & (baseline[drawn] < 1), 1 - baseline[drawn], noise[drawn])

    # One setting: t rises with the sum, so sums are compared.
    sums = gains.sum(axis=0)
    reached = np.zeros(n_sim)
    n_done = 0
    for signs in sign_chunks(n_items, n_flips, rng):
        reached += (signs @ gains >= sums - TIE).sum(axis=0)
        n_done += len(signs)
    extra = 0 if is_exact(n_items, n_flips) else 1
    n_found = int(((reached + extra) / (n_done + extra) <= alpha).sum())
    return Power(n_found / n_sim, clopper_pearson(n_found, n_sim))


def smallest_detectable(
    baseline: Float[np.ndarray, " n_items"],
    differences: Float[np.ndarray, " n_items"],
    power: float = 0.9,
    alpha: float = 0.05,
    *,
    rng: np.random.Generator,
) -> float | None:
    """Find the smallest gain that would be found with the given power.

    Bisects the grid .01, .02, ... up to the room (see `detection_power`), with the same random
    numbers at every point so that power rises with the effect. About 7 simulations.

    Args:
        baseline: Unedited score of each confirmation item, in [0, 1].
        differences: Edited minus baseline score of the same items.
        power: Wanted power, strictly between 0 and 1.
        alpha: Level of the test.
        rng: Draws one seed for all simulations.

    Returns:
        The gain, a multiple of .01, or None when no gain that has room reaches the power.

    Raises:
        ValueError: As for `detection_power`, or if `power` is out of range.
    """
    require_level("power", power)
    room = _room(baseline, differences)
    seed = int(rng.integers(0, 2**63))

    def reaches(step: int) -> bool:
        found = detection_power(
            baseline,
            differences,
            min(step * _GRID_STEP, room),
            alpha=alpha,
            rng=np.random.default_rng(seed),
        )
        return found.power >= power

    # Invariant: `low` does not reach the power, `high` does.
    low, high = 0, int(np.floor(room / _GRID_STEP + 1e-9))
    if high < 1 or not reaches(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return round(high * _GRID_STEP, 2)


def _room(
    baseline: Float[np.ndarray, " n_items"], differences: Float[np.ndarray, " n_items"]
) -> float:
    """Mean gain if every item with room were turned fully right, the others keeping their noise."""
    require_items("baseline", len(baseline))
    require_same_length("baseline", len(baseline), "differences", len(differences))
    require_finite("baseline", baseline)
    require_finite("differences", differences)
    require_probabilities("baseline", baseline)
    noise = differences - differences.mean()
    return float(np.where(baseline < 1, 1 - baseline - noise, 0.0).sum() / len(baseline))
