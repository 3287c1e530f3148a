"""How a model scores on a task, unedited or under one edit: for planting, where nothing is kept."""

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unmask.edits import NO_EDIT, Edit, WeightNoise, edited_weights
from unmask.models.subject import Subject
from unmask.tasks import Task, row
from unmask.tasks.answering import answers_under

_SIGMAS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)


def item_scores(subject: Subject, task: Task, edit: Edit = NO_EDIT) -> Float[np.ndarray, " item"]:
    """Score every item in [0, 1], over all rotations of its options."""
    prompts = [task.prompts(item) for item in task.items]
    flat = [prompt for some in prompts for prompt in some]
    rows = [row(prompt, subject.tokenizer, subject.chat) for prompt in flat]
    (answers,) = answers_under(subject, task, flat, rows, [edit])
    values = iter(answer.score for answer in answers)
    return np.array([np.mean([next(values) for _ in some]) for some in prompts])


def weaker(subject: Subject, task: Task, seed: int) -> Any:
    """Make a weaker model: the subject with so much noise on its weights that it loses half.

    Of some sizes of noise, the one whose score is nearest to half way between the subject's and
    chance.
    """
    chance = float(np.mean([task.chance(item) for item in task.items]))
    half = (item_scores(subject, task).mean() + chance) / 2
    edits = [WeightNoise(sigma, seed) for sigma in _SIGMAS]
    scores = np.array([item_scores(subject, task, edit).mean() for edit in edits])
    best = edits[int(np.abs(scores - half).argmin())]
    model = copy.deepcopy(subject.model)
    with edited_weights(subject.model, [best]), torch.no_grad():
        model.load_state_dict(subject.model.state_dict())
    return model.eval()
