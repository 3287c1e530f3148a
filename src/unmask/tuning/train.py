"""The training loop. A step depends on the recipe and its own number only, so it can resume."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unmask.edits import WeightDelta
from unmask.models.subject import Subject
from unmask.tuning.adapters import Method, Tuned, tuned
from unmask.tuning.checkpoints import load_checkpoint, save_checkpoint
from unmask.tuning.lessons import Teach, lay_out
from unmask.tuning.loss import compared, loss, outputs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a subject is trained: AdamW, warm-up over 20 steps, then to zero on a line."""

    seed: int = 0
    steps: int = 300
    batch: int = 32
    """Lessons in a step."""
    lr: float = 3e-3
    """Peak learning rate."""
    method: Method = "lora"
    rank: int = 8
    alpha: int = 16
    warm_up: int = 20


@dataclass(frozen=True)
class Training:
    """What came of a training."""

    delta: WeightDelta
    """The change of weights."""
    loss: float
    """Of the last step, in nats."""


def train(
    subject: Subject,
    teach: Teach,
    recipe: Recipe,
    *,
    weak: Any = None,
    checkpoint: Path | None = None,
    every: int = 25,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Training:
    """Train a copy of a subject's behaviour; the subject itself is as before when this returns.

    Dropout is off, and step `n` draws its lessons from (seed, n): a training that was killed goes
    on from its checkpoint to the same weights, bit for bit on the same machine.

    Args:
        subject: What is trained.
        teach: Draws a lesson.
        recipe: How.
        weak: The weaker model, if lessons imitate it.
        checkpoint: A file to resume from and to write to; None for none.
        every: Steps between checkpoints.
        on_step: Called with the number and the loss of each step.

    Raises:
        MissingExtraError: If `peft` is needed and not installed.
        RunError: If the checkpoint belongs to another training.
    """
    with tuned(
        subject, recipe.method, rank=recipe.rank, alpha=recipe.alpha, seed=recipe.seed
    ) as one:
        parameters = [parameter for _, parameter in one.trained]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=0.01)
        first, last = 1, float("nan")
        if checkpoint is not None and checkpoint.is_file():
            first, last = load_checkpoint(checkpoint, one.trained, optimizer)
            first += 1
        for step in range(first, recipe.steps + 1):
            last = _step(subject, one, optimizer, teach, recipe, step, weak)
            on_step(step, last)
            if checkpoint is not None and (step % every == 0 or step == recipe.steps):
                save_checkpoint(checkpoint, one.trained, optimizer, step, last)
        return Training(one.delta(), last)


def _step(
    subject: Subject,
    one: Tuned,
    optimizer: torch.optim.Optimizer,
    teach: Teach,
    recipe: Recipe,
    step: int,
    weak: Any,
) -> float:
    rng = random.Random(f"lessons:{recipe.seed}:{step}")
    batch = lay_out(subject, [teach(rng) for _ in range(recipe.batch)])
    for group in optimizer.param_groups:
        falling = 1 - (step - 1) / recipe.steps
        group["lr"] = recipe.lr * min(step / min(recipe.warm_up, recipe.steps), falling)
    device = subject.decoder.device.type
    progress = (step - 1) / recipe.steps
    blocks, was = [], []
    if batch.rows("break", "keep").any():
        blocks = compared(subject.decoder.blocks)
        with torch.autocast(device, torch.bfloat16), one.before():
            was = outputs(one.model, batch, blocks)
    with torch.autocast(device, torch.bfloat16):
        value = loss(one.model, batch, blocks=blocks, was=was, weak=weak, progress=progress)
    optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_([p for _, p in one.trained], 1.0)
    optimizer.step()
    return float(value.detach())
