"""Activation plateaus as one call: how far can activations be moved before the output changes?

Results are plain values, so that they can be stored and shown without the model.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask import steering
from unmask.arms.latent_directions import density_of
from unmask.errors import SettingError
from unmask.models.batch import TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.runs.prompts import token_rows
from unmask.runs.search import N_SEARCHED, blocks, or_message
from unmask.steering.compare import Comparison, compare

Bounds = tuple[float, float, float]
"""Mean, and the ends of its 95 % bootstrap interval over prompts."""


@dataclass(frozen=True)
class KindCurves:
    """The curves of one kind of directions at one layer."""

    kind: str
    length: float
    """Median length of the whole way, in units of the stream."""
    mahalanobis: float
    """The same in standard deviations of the activations."""
    means: Mapping[str, tuple[float, ...]]
    """For each read-out, the mean response at each share of the way, over that at its end."""
    ends: Mapping[str, float]
    """For each read-out, the mean response at the end of the way, in its unit."""
    shapes: Mapping[str, Mapping[str, Bounds]]
    """For each read-out and part of the shape."""
    powers: tuple[float, ...]
    """The p of the L^p norm that mixtures of pairs of such directions follow."""


@dataclass(frozen=True)
class LayerCurves:
    """One layer."""

    layer: int
    norm: float
    """Median norm of the activations that are moved."""
    kinds: tuple[KindCurves, ...]
    radii: Mapping[str, float | str]
    """What each rule for a steering vector's length gives; a message where it cannot."""
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class PlateauResult:
    """Response curves of a model."""

    model: str
    n_prompts: int
    alphas: tuple[float, ...]
    layers: tuple[LayerCurves, ...]
    seconds: float

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def plateau(
    subject: Subject,
    rows: Sequence[Row],
    *,
    layers: Sequence[int] | None = None,
    directions: Mapping[str, Float[Tensor, "vectors d_model"]] | None = None,
    compared: Sequence[float] = (),
    n_paths: int = 4,
    n_alphas: int = 41,
    seed: int = 0,
) -> PlateauResult:
    """Measure response curves, and what the gradient at zero says about finite lengths.

    Args:
        subject: The model.
        rows: Prompts; activations of their last tokens are moved.
        layers: Blocks whose input is moved; by default at a quarter, half and three quarters.
        directions: Further kinds, such as found vectors or a dictionary's features.
        compared: Lengths, as shares of the stream's median norm, at which `steering.compare` runs.
        n_paths: Directions of each kind for each prompt.
        n_alphas: Points of a curve.
        seed: Of random directions.

    Raises:
        SettingError: If there are too few prompts, or a layer does not exist.
    """
    if len(rows) <= n_paths:
        raise SettingError(
            f"expected more than {n_paths} prompts, got {len(rows)}: each is moved towards "
            f"{n_paths} others. Give more prompts, or a task."
        )
    if layers is None:
        layers = sorted({max(1, subject.n_layers * quarter // 4) for quarter in (1, 2, 3)})
    for layer in layers:
        blocks(subject, layer, subject.n_layers)
    began = time.perf_counter()
    prompts = token_rows(subject, rows)
    size = (n_paths, n_alphas, seed)
    measured = [
        _layer(subject, prompts, layer, directions or {}, compared, size) for layer in layers
    ]
    return PlateauResult(
        model=subject.name,
        n_prompts=len(prompts),
        alphas=tuple(np.linspace(0, 1, n_alphas).tolist()),
        layers=tuple(measured),
        seconds=time.perf_counter() - began,
    )


def _layer(
    subject: Subject,
    prompts: Sequence[TokenRow],
    layer: int,
    directions: Mapping[str, Float[Tensor, "vectors d_model"]],
    compared: Sequence[float],
    size: tuple[int, int, int],
) -> LayerCurves:
    n_paths, n_alphas, seed = size
    acts = steering.last_activations(subject, prompts, layer)
    density = density_of(subject, prompts, layer)
    others = steering.towards_others(acts, n_paths, seed=seed)
    lengths = others.norm(dim=-1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(lengths.numel(), subject.d_model, generator=generator)
    paths = {
        "others": others,
        "covariance": steering.towards_samples(acts, density.unwhiten(drawn), lengths),
        "isotropic": steering.isotropic(acts, lengths, seed=seed),
    }
    for name, vectors in directions.items():
        paths[name] = steering.along(vectors[:n_paths], lengths[:, : len(vectors)])
    curves = steering.measure_curves(subject, prompts, layer, paths, n_alphas=n_alphas)
    radius = float(lengths.median())
    kinds = []
    for kind, ways in paths.items():
        white = density.whiten(acts[:, None] + ways) - density.whiten(acts)[:, None]
        kinds.append(
            KindCurves(
                kind,
                float(np.median(curves.lengths[kind])),
                float(white.norm(dim=-1).median()),
                {name: _mean_curve(curves, name, kind) for name in steering.READ_OUTS},
                {
                    name: float(curves.responses[name][kind][..., -1].mean())
                    for name in steering.READ_OUTS
                },
                {name: _shape(curves, name, kind) for name in steering.READ_OUTS},
                _powers(subject, prompts, layer, ways[0], radius),
            )
        )
    source, target = blocks(subject, layer, None)
    response = steering.Response(subject, prompts[:N_SEARCHED], source, target)
    radii: dict[str, float | str] = {
        "plateau": or_message(lambda: steering.plateau_radius(curves)),
        "dct": or_message(lambda: steering.dct_radius(response, seed=seed)),
    }
    norm = steering.typical_norm(response)
    comparisons = [
        compare(subject, prompts[:N_SEARCHED], source, target, share * norm, seed=seed)
        for share in compared
    ]
    return LayerCurves(
        layer, float(acts.norm(dim=-1).median()), tuple(kinds), radii, tuple(comparisons)
    )


def _powers(
    subject: Subject,
    prompts: Sequence[TokenRow],
    layer: int,
    ways: Float[Tensor, "path d_model"],
    radius: float,
) -> tuple[float, ...]:
    n_pairs = len(ways) // 2
    if not n_pairs:
        return ()
    pairs = ways[: 2 * n_pairs]
    return tuple(steering.mixing_powers(subject, prompts, layer, pairs, radius).tolist())


def _mean_curve(
    curves: steering.Curves, read_out: steering.ReadOut, kind: str
) -> tuple[float, ...]:
    responses = curves.responses[read_out][kind].reshape(-1, len(curves.alphas))
    responding = responses[responses[:, -1] > 0]
    if not len(responding):
        return tuple(0.0 for _ in curves.alphas)
    return tuple((responding / responding[:, -1:]).mean(0).tolist())


def _shape(curves: steering.Curves, read_out: steering.ReadOut, kind: str) -> dict[str, Bounds]:
    found = curves.summary(read_out, kind)
    return {name: (mean, float(i.low), float(i.high)) for name, (mean, i) in found.items()}
