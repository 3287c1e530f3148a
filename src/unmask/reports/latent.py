"""What the pages of searches and plateaus show: places of points, steps of colour."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from unmask.reports.maps import Maps, view_directions
from unmask.runs.plateaus import LayerCurves, PlateauResult
from unmask.runs.search import SearchResult
from unmask.steering import READ_OUTS

WIDTH, HEIGHT = 280, 180
LEFT, TOP = 34, 8

READ_OUT_NAMES = {
    "kl": "KL of the next token, nats",
    "js": "Jensen-Shannon distance of the next token",
    "l2": "distance of what leaves the last block",
}


class Line(NamedTuple):
    """One curve."""

    kind: str
    number: int
    points: str


class Point(NamedTuple):
    """One direction in a comparison."""

    x: str
    y: str
    number: int


class Plot(NamedTuple):
    """Curves of one read-out, or points of one comparison."""

    title: str
    lines: tuple[Line, ...] = ()
    points: tuple[Point, ...] = ()
    x_name: str = "share of the way"
    y_name: str = "share of the response at its end"
    ticks: tuple[tuple[str, str], ...] = ()
    """Labels at the ends of both axes: lower and upper, of x and of y."""


def view_search(result: SearchResult) -> Maps:
    """Lay out a search."""
    names = [one.index for one in result.shown]
    return view_directions(result.shown, result.cosines, names, result.source + 1)


def view_plateau(result: PlateauResult) -> list[dict[str, Any]]:
    """Lay out the curves and the comparisons of each layer."""
    return [
        {
            "layer": layer,
            "plots": [_curves(result.alphas, layer, name) for name in READ_OUTS],
            "scatter": [_scatter(one) for one in layer.comparisons],
        }
        for layer in result.layers
    ]


def _curves(alphas: Sequence[float], layer: LayerCurves, read_out: str) -> Plot:
    highest = max(1.0, *(max(kind.means[read_out]) for kind in layer.kinds))
    lines = []
    for number, kind in enumerate(layer.kinds):
        places = [
            f"{_x(alpha)},{_y(value / highest)}"
            for alpha, value in zip(alphas, kind.means[read_out], strict=True)
        ]
        lines.append(Line(kind.kind, number % 5, " ".join(places)))
    return Plot(READ_OUT_NAMES[read_out], tuple(lines), ticks=(("0", "1"), ("0", f"{highest:.2g}")))


def _scatter(comparison: Any) -> Plot:
    effects = [(number, e) for number, some in enumerate(comparison.effects.values()) for e in some]
    right = max((e.linear for _, e in effects), default=1.0) or 1.0
    upper = max((e.finite for _, e in effects), default=1.0) or 1.0
    points = tuple(Point(_x(e.linear / right), _y(e.finite / upper), n) for n, e in effects)
    return Plot(
        f"length {comparison.radius:.3g}",
        points=points,
        x_name="change that the gradient at zero predicts",
        y_name="change",
        ticks=(("0", f"{right:.3g}"), ("0", f"{upper:.3g}")),
    )


def _x(share: float) -> str:
    return f"{LEFT + WIDTH * share:.1f}"


def _y(share: float) -> str:
    return f"{TOP + HEIGHT * (1 - share):.1f}"
