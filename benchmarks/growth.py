"""How time grows with the number of edits, the length of the prompt, and the number of blocks."""

from pathlib import Path

import numpy as np

from benchmarks.compare import timed
from benchmarks.model import llama
from benchmarks.workloads import Scoring
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder

Curve = list[tuple[int, float]]
"""Size, and the median of the seconds that it took."""

K = (1, 4, 16, 64, 256, 1024, 4096)
T = (64, 128, 256, 512, 1024, 2048)
L = (4, 8, 12, 16, 24)


def run(rounds: int) -> dict[str, Curve]:
    """Time last-position edits in the middle of the model, unedited pass included."""
    engine = _engine(12)
    return {
        "K": [(n, _seconds(_work(engine, 256, n), rounds)) for n in K],
        "T": [(n, _seconds(_work(engine, n, 32), rounds)) for n in T],
        "L": [(n, _seconds(_work(_engine(n), 256, 32), rounds)) for n in L],
    }


def linear_in_k(curve: Curve) -> dict[str, float]:
    """Fit ``seconds = shared + each * K``, weighted by one over the seconds.

    Returns:
        The intercept, the slope, and the largest error of the fit relative to the time measured.
    """
    sizes, seconds = np.array(curve, dtype=float).T
    each, shared = np.polyfit(sizes, seconds, 1, w=1 / seconds)
    errors = np.abs(shared + each * sizes - seconds) / seconds
    return {"shared": float(shared), "each": float(each), "largest_error": float(errors.max())}


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw the three curves, and the fit against K."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "unmask"  # the same picture for the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    names = {"K": "edits (T=256, 12 blocks)", "T": "tokens (K=32)", "L": "blocks (K=32, T=256)"}
    for axis, (key, curve) in zip(axes, curves.items(), strict=True):
        sizes, seconds = zip(*curve, strict=True)
        axis.plot(sizes, seconds, "o", color="#205080")
        low = min(seconds) / 2 if key == "K" else 0
        scale = "log" if key == "K" else "linear"
        axis.set(xlabel=names[key], ylabel="seconds", xscale=scale, yscale=scale)
        axis.set_ylim(low, max(seconds) * (2 if key == "K" else 1.05))
    fit, sizes = linear_in_k(curves["K"]), np.geomspace(1, max(K), 50)
    axes[0].plot(sizes, fit["shared"] + fit["each"] * sizes, "-", color="#b05030", linewidth=1)
    axes[0].set_title(
        f"{fit['shared'] * 1e3:.0f} ms + {fit['each'] * 1e3:.2f} ms an edit", fontsize=10
    )
    figure.savefig(path, metadata={"Date": None})


def _work(engine: Engine, n_tokens: int, n_edits: int) -> Scoring:
    model, half = engine.decoder.model, engine.decoder.n_layers // 2
    return Scoring(engine, model, n_tokens, half, "last", n_edits)


def _engine(n_layers: int) -> Engine:
    return Engine(checked(Decoder(llama(n_layers))))


def _seconds(work: Scoring, rounds: int) -> float:
    work.whole()
    return float(np.median([timed(work.whole) for _ in range(rounds)]))
