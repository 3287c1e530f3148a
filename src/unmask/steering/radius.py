"""How long a steering vector must be."""

from typing import Any

import numpy as np
from scipy.optimize import brentq

from unmask.errors import SettingError
from unmask.steering.curves import Curves, ReadOut
from unmask.steering.response import Response
from unmask.steering.spheres import random_units

N_DIRECTIONS = 30


def dct_radius(response: Response, *, ratio: float = 0.5, seed: int = 0) -> float:
    """Find the length at which the non-linear part of the response is half of the linear part.

    ``sqrt(mean_v |D(R v) - R J v|^2 / |R J v|^2) = ratio`` over 30 random directions, with D the
    mean change over tokens and prompts.

    Source: the calibration of Mack & Turner (2024), "Deep causal transcoding".

    Args:
        response: What vectors change, where and on which prompts.
        ratio: Published: a half.
        seed: Of the directions.

    Returns:
        The radius in units of the stream.

    Raises:
        SettingError: If the ratio is not reached between a thousandth of the stream's norm and a
            hundred times it: the blocks are (nearly) linear, or not even so at the shortest length.
    """
    directions = random_units(N_DIRECTIONS, response.d_model, seed, response.device)
    slope = response.linear_mean(directions)

    def excess(log_radius: float) -> float:
        radius = float(np.exp(log_radius))
        rest = response.mean_of(radius * directions) - radius * slope
        parts = rest.square().sum(-1) / (radius * slope).square().sum(-1)
        return float(parts.mean().sqrt()) - ratio

    norm = typical_norm(response)
    # Upwards from short lengths: the first length at which the ratio is reached counts.
    grid = np.log(norm * np.geomspace(1e-3, 1e2, 26))
    values = [excess(point) for point in grid[:1]]
    for low, high in zip(grid, grid[1:], strict=False):
        values.append(excess(high))
        if values[-2] < 0 <= values[-1]:
            log_radius: Any = brentq(excess, low, high, xtol=1e-3)
            return float(np.exp(log_radius))
    raise SettingError(
        f"expected a length at which the response's non-linear part is {ratio} of its linear part, "
        f"got {values[0] + ratio:.3g} at {norm * 1e-3:.3g} and {values[-1] + ratio:.3g} at "
        f"{norm * 1e2:.3g}. Give the radius as a number, or leave more blocks between source and "
        "target."
    )


def typical_norm(response: Response) -> float:
    """Median norm of the activations to which vectors are added.

    Not the mean: attention sinks at the first tokens can have norms hundreds of times the others'.
    """
    return float(response.entering.float().norm(dim=-1).median())


def plateau_radius(curves: Curves, read_out: ReadOut = "l2", kind: str = "others") -> float:
    """Find the length that just leaves the activation plateau: the median boundary of the curves.

    Args:
        curves: Of directions towards the activations of other prompts.
        read_out: Which response.
        kind: Which curves.

    Raises:
        SettingError: If no curve responds.
    """
    lengths = curves.lengths[kind].ravel() * curves.shapes(read_out, kind).boundary
    if not np.isfinite(lengths).any():
        raise SettingError(
            f"expected curves that respond at their end, got none of {len(lengths)} at layer "
            f"{curves.layer}. The prompts probably differ in nothing that the model uses; give "
            "others."
        )
    return float(np.nanmedian(lengths))
