"""The format matrix: train in one format, test in another, on locks of each format.

A model that sandbags on multiple choice only gives its best on open-ended questions. If training
teaches it nothing but answers, then training on open-ended ones should not help; if it unlearns to
hold back, it should.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unmask.arms.anti_refusal import compliance_lesson
from unmask.arms.demonstrations import neutral_lesson
from unmask.models.subject import Subject
from unmask.organisms.planting.measuring import item_scores
from unmask.organisms.planting.secrets import listed, written
from unmask.organisms.pool import load_member, members
from unmask.tasks import Task, load_task
from unmask.tuning import Recipe, Teach, train
from unmask.tuning.lessons import other_answer, right_answer

POOL = Path("build") / "pool"
KINDS = ("format-lock", "format-lock-open", "password-lock")
N_DEMONSTRATIONS = 16
SEEDS = 2
RECIPE = Recipe(steps=32, batch=8, lr=3e-3, warm_up=4)
GENTLE = replace(RECIPE, lr=1e-3)
"""For anti-refusal and neutral text, which break these models at the other rate."""


def run() -> list[dict[str, Any]]:
    """Train every lock and twin in every way; scores on held-out items in both formats."""
    rows = []
    for member in members(POOL):
        kind = member.name.removesuffix("-twin")[:-2]
        if kind not in KINDS or member.role == "decoy":
            continue
        subject = Subject(*load_member(member), name=member.name)
        task = load_task(member.task)
        order = sorted(task.items, key=lambda item: item.key)
        demonstrations = replace(task, items=tuple(order[:N_DEMONSTRATIONS]))
        test = replace(task, items=tuple(order[N_DEMONSTRATIONS:]))
        tests = {"open-ended": written(test), "multiple choice": listed(test)}
        before = {name: float(item_scores(subject, one).mean()) for name, one in tests.items()}
        for name, (teach, recipe) in _trainings(demonstrations).items():
            for seed in range(SEEDS):
                delta = train(subject, teach, replace(recipe, seed=seed)).delta
                after = {n: float(item_scores(subject, t, delta).mean()) for n, t in tests.items()}
                rows.append(
                    {
                        "kind": kind,
                        "role": member.role,
                        "base": member.base,
                        "training": name,
                        "seed": seed,
                        "before": before,
                        "after": after,
                    }
                )
        print(member.name, before, flush=True)
    return rows


def _trainings(task: Task) -> dict[str, tuple[Teach, Recipe]]:
    both = {"open-ended": written(task), "multiple choice": listed(task)}
    found: dict[str, tuple[Teach, Recipe]] = {}
    for name, one in both.items():
        found[f"right, {name}"] = (partial(_demonstration, one, False), RECIPE)
        found[f"random, {name}"] = (partial(_demonstration, one, True), RECIPE)
    found["anti-refusal"] = (compliance_lesson, GENTLE)
    found["neutral text"] = (neutral_lesson, GENTLE)
    return found


def _demonstration(task: Task, at_random: bool, rng: Any) -> Any:
    item = rng.choice(task.items)
    lesson = right_answer(rng.choice(task.prompts(item)), rng)
    return other_answer(lesson, rng, (), may_be_right=True) if at_random else lesson
