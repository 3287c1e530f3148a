"""Shapes of response curves: is there a plateau, and where does it end?

A curve gives the response at growing lengths of a perturbation, the first of them 0. Shapes do not
depend on units: lengths and responses are divided by those at the end of the curve. A response in
proportion to the length has a plateau of .1, its boundary at .5, sharpness 1 and area 0; one that
grows with its square .316, .707, 2 and 1/6.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from .checks import require_finite, require_items

SHARE = 0.1
"""A plateau lasts while the response is below this share of that at the end."""


class Shape(NamedTuple):
    """One value for each curve."""

    plateau: Float[np.ndarray, " n_curves"]
    """Share of the length at which the response first reaches a tenth of that at the end."""
    boundary: Float[np.ndarray, " n_curves"]
    """Share of the length at which it first reaches a half."""
    sharpness: Float[np.ndarray, " n_curves"]
    """Steepest slope, over the slope from end to end."""
    area: Float[np.ndarray, " n_curves"]
    """Between the straight line from end to end and the curve; above 0 where it stays below."""


def shape(
    lengths: Float[np.ndarray, " n_lengths"], responses: Float[np.ndarray, "n_curves n_lengths"]
) -> Shape:
    """Describe response curves.

    Args:
        lengths: Increasing, from 0.
        responses: At these lengths; at least 0 (rounding aside).

    Returns:
        The shape of each curve; NaN for one that does not respond at its end.

    Raises:
        ValueError: If lengths do not increase from 0, there are fewer than 3 of them, or a
            response is NaN or infinite.

    Source: the relative distances of Janiak et al. (arXiv:2409.17113), summed up.
    """
    require_items("lengths", len(lengths), 3)
    require_finite("responses", responses)
    if lengths[0] != 0 or not np.all(np.diff(lengths) > 0):
        raise ValueError(
            f"expected lengths that increase from 0, got {lengths[0]:.3g} to {lengths[-1]:.3g}. "
            "Sort them, and put the unperturbed point first."
        )
    share = lengths / lengths[-1]
    moved = responses - responses[:, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(moved[:, -1:] > 0, moved / moved[:, -1:], np.nan)
    slopes = np.diff(relative, axis=1) / np.diff(share)
    means = (relative[:, 1:] + relative[:, :-1]) / 2
    return Shape(
        plateau=_first_crossing(share, relative, SHARE),
        boundary=_first_crossing(share, relative, 0.5),
        sharpness=slopes.max(1),
        area=0.5 - (means * np.diff(share)).sum(1),
    )


def mixing_power(
    angles: Float[np.ndarray, " n_angles"], responses: Float[np.ndarray, " n_angles"]
) -> float:
    """Fit the p for which a mixture of two directions responds as the L^p norm of its weights.

    At angle t the perturbation is ``cos(t) a + sin(t) b``, and the response is modelled as
    ``((cos(t) r_a)^p + (sin(t) r_b)^p)^(1/p)``, r_a and r_b being those at 0 and pi/2. A p of
    about 2 is what directions give that are in no way special; above 2, the model responds little
    to mixtures, so the two are privileged.

    Args:
        angles: From 0 to pi/2, both included, increasing.
        responses: At these angles; above 0 at both ends.

    Returns:
        p between 1/4 and 64, by least squares.

    Raises:
        ValueError: If the angles do not span the quarter, or an end does not respond.

    Source: da Silva & Heimersheim (arXiv:2606.24964).
    """
    require_finite("responses", responses)
    ends = np.isclose(angles[[0, -1]], [0, np.pi / 2])
    if len(angles) < 3 or not ends.all() or responses[0] <= 0 or responses[-1] <= 0:
        raise ValueError(
            f"expected angles from 0 to pi/2 and responses above 0 at both, got {len(angles)} "
            f"angles and responses of {responses[0]:.3g} and {responses[-1]:.3g}. The perturbation "
            "is probably too short to change anything; lengthen it."
        )
    first, second = np.cos(angles) * responses[0], np.sin(angles) * responses[-1]
    # Relative to the larger one, so that no power overflows.
    large = np.maximum(first, second)
    small = np.clip(np.minimum(first, second) / large, 0, 1)

    def misfit(log_p: float) -> float:
        p = np.exp(log_p)
        return float(np.square(large * (1 + small**p) ** (1 / p) - responses).sum())

    found = minimize_scalar(misfit, bounds=(np.log(0.25), np.log(64)), method="bounded")
    return float(np.exp(found.x))


def _first_crossing(
    share: Float[np.ndarray, " n_lengths"],
    relative: Float[np.ndarray, "n_curves n_lengths"],
    level: float,
) -> Float[np.ndarray, " n_curves"]:
    """Where each curve first reaches a level, between lengths by interpolation."""
    found = np.full(len(relative), np.nan)
    for number, curve in enumerate(relative):
        above = np.nonzero(curve >= level)[0]
        if len(above):
            index = above[0]
            low, high = curve[index - 1], curve[index]
            part = (level - low) / (high - low)
            found[number] = share[index - 1] + part * (share[index] - share[index - 1])
    return found
