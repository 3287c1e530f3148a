"""The reliability diagram: claimed power against how often other organisms were found."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "reliability", "font.size": 9})


def draw(part: dict[str, Any], file: Path) -> None:
    """Write it as an SVG; areas show how many audits a point stands for."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    for one in part["bins"]:
        low, high = one["interval"]
        x, y = one["claimed"], one["happened"]
        axes.plot([x, x], [low, high], color="#20639b", linewidth=1.2)
        axes.scatter([x], [y], s=60 + 6 * one["n"], color="#20639b", zorder=3)
        axes.annotate(str(one["n"]), (x, y), color="white", ha="center", va="center", zorder=4)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
    axes.set_xlabel("power that the calibration claims")
    axes.set_ylabel("share of audits that found other organisms (95 %)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
