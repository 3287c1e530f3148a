"""Where values lie in a picture: an axis in per cent of its width, and the steps of the colours."""

import math
from collections.abc import Iterable
from typing import NamedTuple

STEPS = 5
"""Steps of colour on each side of zero."""


class Tick(NamedTuple):
    """A labelled value of an axis."""

    at: str
    value: float | int


class Axis(NamedTuple):
    """A linear axis over the width of a picture."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def at(self, value: float | int) -> str:
        """Where a value lies, clipped to the axis."""
        return _per_cent((value - self.low) / (self.high - self.low))

    def width(self, low: float | int, high: float | int) -> str:
        """How wide the range between two values is."""
        place = [min(max(value, self.low), self.high) for value in (low, high)]
        return f"{100 * (1 - 2 * _MARGIN) * (place[1] - place[0]) / (self.high - self.low):.2f}%"


_MARGIN = 0.06


def _per_cent(fraction: float) -> str:
    inside = min(max(fraction, 0.0), 1.0)
    return f"{100 * (_MARGIN + (1 - 2 * _MARGIN) * inside):.2f}%"


def make_axis(low: float | int, high: float | int, step: float | int) -> Axis:
    """An axis with a tick at each multiple of `step`."""
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    axis = Axis(first * step, last * step, ())
    values = [round(index * step, 10) for index in range(first, last + 1)]
    return axis._replace(ticks=tuple(Tick(axis.at(value), value) for value in values))


SCORE_AXIS = make_axis(0.0, 1.0, 0.25)
"""Of scores."""


def gain_axis(values: Iterable[float | int]) -> Axis:
    """An axis that holds zero and every value, with two to five ticks."""
    finite = [min(max(value, -1.0), 1.0) for value in values if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.1, *finite])
    steps = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
    step = next(s for s in steps if (high - low) / s <= 3.0 or s == steps[-1])
    return make_axis(low, high, step)


def bound(values: Iterable[float | int]) -> float:
    """The gain that gets the strongest colour: the largest in size, rounded up to .05."""
    largest = max([0.1, *(abs(value) for value in values if math.isfinite(value))])
    return math.ceil(largest / 0.05 - 1e-9) * 0.05


def shade(value: float | int, strongest: float | int) -> int:
    """The step of colour of a gain, from -STEPS to STEPS; 0 where it is unknown.

    >>> shade(0.4, 0.4), shade(-0.01, 0.4), shade(0.2, 0.4)
    (5, 0, 2)
    """
    if not math.isfinite(value):
        return 0
    step = round(STEPS * min(abs(value) / strongest, 1.0))
    return step if value > 0 else -step
