"""Sign-flip permutation test of paired differences, with max-T over settings."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .checks import require_count, require_finite, require_items

# Part of the random stream: the same seed gives the same flips whatever the number of settings.
_CHUNK = 512
# Sums of the same terms in another order differ by rounding; a tie must count as a tie, or the
# test of discrete scores would be too liberal.
TIE = 1e-10


class SignFlip(NamedTuple):
    """One-sided (greater) test of the mean difference at each setting."""

    t: Float[np.ndarray, " n_settings"]
    """Student's t of each setting; infinite where all differences are equal, 0 where all are 0."""
    p: Float[np.ndarray, " n_settings"]
    """Adjusted for all settings tested together (single-step max-T), in (0, 1]."""
    p_single: Float[np.ndarray, " n_settings"]
    """Of each setting as if it alone had been tested, in (0, 1]; never above `p`."""


def sign_chunks(
    n_items: int, n_flips: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "n_chunk n_items"]]:
    """Yield flips as rows of +1 and -1, a few hundred at a time.

    All ``2 ** n_items`` of them (the identity included) if they are no more than `n_flips`,
    else `n_flips` random ones.
    """
    exact = is_exact(n_items, n_flips)
    n_rows = 2**n_items if exact else n_flips
    for start in range(0, n_rows, _CHUNK):
        rows = min(_CHUNK, n_rows - start)
        if exact:
            codes = np.arange(start, start + rows)[:, None]
            bits = (codes >> np.arange(n_items)) & 1
        else:
            bits = rng.integers(0, 2, size=(rows, n_items), dtype=np.int8)
        yield 1.0 - 2.0 * bits


def is_exact(n_items: int, n_flips: int) -> bool:
    """Whether all flips are enumerated."""
    return n_items < 60 and 2**n_items <= n_flips


def sign_flip(
    differences: Float[np.ndarray, "n_items n_settings"],
    *,
    rng: np.random.Generator,
    n_flips: int = 10_000,
) -> SignFlip:
    """Test whether the mean difference is above 0, at each of several settings.

    Under the null hypothesis an item's differences (all settings together) are as likely as their
    negatives, so the items' signs are flipped at random, the same for all settings, and the
    largest t over the settings is compared with each observed t. For a mean of 0 without symmetry
    the test is valid in large samples only, which is why it is studentised.

    With ``r = sum(d) / sqrt(n sum(d^2))``, ``t = r sqrt((n - 1) / (1 - r^2))`` rises with ``r``,
    and flips leave ``sum(d^2)`` as it is; so the flips are compared by ``r``, which is one matrix
    product and never infinite. ``p = (1 + #{T* >= T}) / (1 + n_flips)``; if ``2 ** n_items`` is at
    most `n_flips`, all flips are enumerated and ``p = #{T* >= T} / 2 ** n_items`` is exact. A
    setting whose differences are all 0 has ``p = 1``. Cost: ``n_flips * n_items * n_settings``.

    Args:
        differences: Edited minus baseline score of each item at each setting, in score units.
        rng: Draws the flips; untouched if they are enumerated.
        n_flips: Number of random flips; the smallest possible p is ``1 / (1 + n_flips)``.

    Returns:
        Statistics and p-values, one per setting.

    Raises:
        ValueError: If a difference is NaN or infinite, if there are fewer than 2 items or no
            settings, or if `n_flips` is below 1.

    Source: sign flips as in Nichols & Holmes (2002), Hum. Brain Mapp. 15:1-25; single-step max-T
    of Westfall & Young (1993), Resampling-Based Multiple Testing.
    """
    n_items, n_settings = differences.shape
    require_items("differences", n_items)
    require_count("n_flips", n_flips)
    if n_settings == 0:
        raise ValueError(
            "expected differences of at least 1 setting, got shape "
            f"{differences.shape}. No setting was within budget, perhaps; test only if one was."
        )
    require_finite("differences", differences)

    # Scaled by the largest first, so that the squares neither overflow nor vanish.
    largest = np.abs(differences).max(axis=0)
    moved = largest > 0
    unit = differences / np.where(moved, largest, 1.0)
    unit = unit / np.where(moved, np.sqrt(n_items * (unit**2).sum(axis=0)), 1.0)
    r = unit.sum(axis=0)
    reached = np.zeros(n_settings)
    reached_by_max = np.zeros(n_settings)
    n_done = 0
    for signs in sign_chunks(n_items, n_flips, rng):
        flipped = signs @ unit
        reached += (flipped >= r - TIE).sum(axis=0)
        largest_r = np.where(moved, flipped, -np.inf).max(axis=1)
        reached_by_max += (largest_r[:, None] >= r - TIE).sum(axis=0)
        n_done += len(signs)
    extra = 0 if is_exact(n_items, n_flips) else 1
    p_single = (reached + extra) / (n_done + extra)
    p = (reached_by_max + extra) / (n_done + extra)
    return SignFlip(
        t=_t_of(r, n_items),
        p=np.where(moved, p, 1.0),
        p_single=np.where(moved, p_single, 1.0),
    )


def _t_of(r: Float[np.ndarray, " n_settings"], n_items: int) -> Float[np.ndarray, " n_settings"]:
    """Student's t from the normalised sum; infinite where the differences do not vary."""
    rest = 1 - r**2
    varies = rest > 1e-14
    t = r * np.sqrt((n_items - 1) / np.where(varies, rest, 1.0))
    return np.where(varies, t, np.copysign(np.inf, r))
