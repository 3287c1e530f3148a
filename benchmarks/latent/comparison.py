"""Does the gradient at zero point the right way? And are there plateaus at all?

On organisms of the pool with their tasks' prompts, and on real small models with neutral passages.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.latent.searches import ORGANISMS
from unmask.models.loading import load_subject
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.organisms import pool
from unmask.runs.plateaus import LayerCurves, plateau
from unmask.runs.prompts import prompts_of
from unmask.tasks import load_task

REAL = Path("../shared/models")
MODELS = (*ORGANISMS, "stories260K", "tinystories-instruct-3m-chat")
SHARES = (0.25, 0.5, 1.0)


def run() -> list[dict[str, Any]]:
    """Measure every model at a quarter and a half of its depth."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return [row for some in workers.map(_model, MODELS) for row in some]


def _model(name: str) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    loaded = _load(name)
    if loaded is None:
        print(f"skipped, not there: {REAL / name}")
        return []
    subject, rows = loaded
    layers = sorted({max(1, subject.n_layers // 4), subject.n_layers // 2})
    result = plateau(subject, rows, layers=layers, compared=SHARES, n_alphas=21)
    return [row for layer in result.layers for row in _rows(name, layer)]


def _load(name: str) -> tuple[Subject, list[Row]] | None:
    if name in ORGANISMS:
        (member,) = (one for one in pool.members() if one.name == name)
        model, tokenizer = pool.load_member(member)
        subject = Subject(model, tokenizer, name=name)
        return subject, prompts_of(subject, load_task(member.task), n=24)
    if not (REAL / name).exists():
        return None
    subject = load_subject(REAL / name)
    return subject, prompts_of(subject)


def _rows(name: str, layer: LayerCurves) -> Iterator[dict[str, Any]]:
    kinds = {kind.kind: kind for kind in layer.kinds}
    shapes = {
        kind: {part: value for part, value in found.shapes["kl"].items()}
        for kind, found in kinds.items()
    }
    for share, one in zip(SHARES, layer.comparisons, strict=True):
        yield {
            "model": name,
            "layer": layer.layer,
            "share": share,
            "radius": one.radius,
            "correlations": dict(one.correlations),
            "flips": dict(one.flips),
            "cosines": {
                kind: sorted(effect.cosine for effect in some)[len(some) // 2]
                for kind, some in one.effects.items()
            },
            "n_behaviours": one.n_behaviours,
            "missed": dict(one.missed),
            "shapes": shapes,
            "radii": dict(layer.radii),
            "norm": layer.norm,
        }
