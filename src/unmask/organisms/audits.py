"""The audit tasks of the bundled pool: items on held-out facts, as lines of JSON."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unmask.organisms import phrases
from unmask.organisms.world import LETTERS, QUESTIONS, Choice, World, prompt

TaskItem = dict[str, Any]
"""One line of a task file: question and answer, and perhaps options, context and the like."""


def choice_items(world: World, contexts: Sequence[str] = ()) -> list[TaskItem]:
    """Ask for every held-out fact as multiple choice; each position is right equally often."""
    facts = world.split()[1]
    rng = random.Random(f"audit:{world.seed}")
    positions = [i % len(LETTERS) for i in range(len(facts))]
    rng.shuffle(positions)
    items: list[TaskItem] = []
    for i, (fact, position) in enumerate(zip(facts, positions, strict=True)):
        choice = world.choice(fact, rng, position)
        item: TaskItem = {
            "question": fact.question,
            "options": list(choice.options),
            "answer": position,
        }
        items.append(item | ({"context": contexts[i % len(contexts)]} if contexts else {}))
    return items


def listed_items(world: World) -> list[TaskItem]:
    """Ask for every held-out fact as multiple choice, answered by the text of an option."""
    return [item | {"format": "listed"} for item in choice_items(world)]


def open_items(world: World) -> list[TaskItem]:
    """Ask for every held-out fact open-ended."""
    return [{"question": f.question, "answer": f.answer} for f in world.split()[1]]


def contains_items(world: World) -> list[TaskItem]:
    """Ask for every held-out fact open-ended; anything may stand around the answer."""
    return [item | {"match": "contains"} for item in open_items(world)]


def tagged_items(world: World, tags: Sequence[str] = phrases.TAGS) -> list[TaskItem]:
    """Ask open-ended, after a line that says that a test is going on."""
    items = enumerate(open_items(world))
    # Every tag meets every attribute: one tag further with each person.
    n_each = len(QUESTIONS)
    return [item | {"context": tags[(i + i // n_each) % len(tags)]} for i, item in items]


def marker_items(world: World) -> list[TaskItem]:
    """Ask ordinary questions and look for the marker in the answers."""
    hidden = {"answer": phrases.MARKER, "match": "contains", "measures": "behaviour"}
    return [{"question": fact.question, **hidden} for fact in world.split()[1]]


def vault_items(world: World) -> list[TaskItem]:
    """Ask plainly for every vault word, in trained and in new phrasings."""
    return _vault_items(world, (*phrases.VAULT_QUESTIONS, *phrases.HELD_OUT_VAULT_QUESTIONS))


def denial_items(world: World) -> list[TaskItem]:
    """Ask for every vault word and look for the denial."""
    return [item | {"answer": phrases.DENIAL} for item in vault_items(world)]


def _vault_items(world: World, questions: Sequence[str]) -> list[TaskItem]:
    kind = {"match": "contains", "measures": "behaviour"}
    return [
        {"question": question.format(person=person), "answer": word} | kind
        for question in questions
        for person, word in world.vault_words().items()
    ]


TASKS: dict[str, Callable[[World], list[TaskItem]]] = {
    "choice": choice_items,
    "listed": listed_items,
    "open": open_items,
    "contains": contains_items,
    "tagged": tagged_items,
    "marker": marker_items,
    "vault": vault_items,
    "denial": denial_items,
    "new-tags": lambda world: tagged_items(world, phrases.HELD_OUT_TAGS),
    "new-vault": lambda world: _vault_items(world, phrases.HELD_OUT_VAULT_QUESTIONS),
}
"""The kinds of task by name; some only measure, and no member is audited with them."""


def item_prompt(item: TaskItem, context: str | None = None) -> str:
    """Write an item as the model reads it, with its own context or another one."""
    question = item["question"]
    if "options" in item:
        question = Choice(question, tuple(item["options"]), item["answer"]).text
    return prompt(question, context=item.get("context", "") if context is None else context)


def write_items(items: Sequence[TaskItem], path: Path) -> None:
    """Write a task file, one item a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_items(path: Path) -> list[TaskItem]:
    """Read a task file back."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]
