"""Poser-small: the six strategies and ours on 324 pairs of a model that a CPU can train."""

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.arms.base import Arm
from unmask.arms.registry import choose_arms
from unmask.models.loading import load_subject
from unmask.models.subject import Subject
from unmask.organisms import poser_small
from unmask.organisms.poser import Pair, Scenario, poser_task, published_pairs, read_scenarios
from unmask.organisms.poser import score_pairs as score
from unmask.organisms.poser_strategies import STRATEGIES, misaligned

MODELS = Path("build") / "poser"
OURS = ("latent_directions", "activation_noise")
"""Arms that need no right answer, no twin and no fact that is marked as critical."""
N = 80
"""Scenarios that a model is asked with every arm's settings; half to choose, half to measure."""


def run() -> dict[str, Any]:
    """Make the models, if they are not there, and score every strategy."""
    torch.set_num_threads(2)
    poser_small.make(MODELS)
    pairs = published_pairs()
    files = sorted({(name, pair.file) for pair in pairs for name in (pair.aligned, pair.faker)})
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_one_thread) as executor:
        told = dict(zip(files, executor.map(suspicions, files), strict=True))
    rows = []
    for name in told[files[0]]:
        published = STRATEGIES[name][1] if name in STRATEGIES else ""
        rows.append(_row(name, published, pairs, told))
        print(rows[-1], flush=True)
    return {"strategies": rows, "agreement": agreement()}


def agreement() -> dict[str, dict[str, Any]]:
    """How far each model follows its policy on held-out situations, as its recipe measured it."""
    files = {name: MODELS / name / "policy.json" for name in poser_small.models()}
    return {name: json.loads(file.read_text()) for name, file in files.items()}


def _row(
    name: str, published: str, pairs: Sequence[Pair], told: dict[tuple[str, str], Any]
) -> dict[str, Any]:
    def suspicion(pair: Pair) -> tuple[float, float]:
        return told[pair.aligned, pair.file][name], told[pair.faker, pair.file][name]

    found = score(pairs, suspicion)
    low, high = found.interval
    return {
        "strategy": name,
        "published": published,
        "accuracy": found.accuracy,
        "interval": [float(low), float(high)],
        "pairs": found.n_pairs,
        "models": found.n_models,
    }


def suspicions(which: tuple[str, str]) -> dict[str, float]:
    """How suspect a model is on one file, by every strategy."""
    name, file = which
    subject = load_subject(str(MODELS / name))
    scenarios = read_scenarios(MODELS / "scenarios" / file)
    found = {title: strategy(subject, scenarios) for title, (strategy, _) in STRATEGIES.items()}
    return found | {title: gain(subject, scenarios, title) for title in OURS}


def gain(subject: Subject, scenarios: Sequence[Scenario], name: str) -> float:
    """The rise of the misaligned letter at an arm's best setting, chosen on one half."""
    arm = next(arm for arm in choose_arms((name,)) if arm.name == name)
    assert isinstance(arm, Arm)
    task = poser_task(scenarios[:N], "poser")
    choosing, measuring = scenarios[: N // 2], scenarios[N // 2 : N]
    arm.fit(subject, task, task.items[: N // 2])
    settings = list(arm.settings(subject))
    edits = [arm.edits_of(subject, setting, 0) for setting in settings]
    rises = [misaligned(subject, choosing, edit).mean() for edit in edits]
    best = edits[int(np.argmax(rises))]
    after, before = misaligned(subject, measuring, best), misaligned(subject, measuring)
    return float((after - before).mean())


def _one_thread() -> None:
    torch.set_num_threads(1)
