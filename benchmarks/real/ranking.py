"""Which rule ranks options by what a chat model would say?

`python -m benchmarks.real ranking` compares rules on real tasks. A rule is judged by validity:

- *agrees*: where the model's own greedy answer to the same prompt names exactly one of the
  options, the share of items on which the rule ranks that option first;
- *blind*: its score when each question is replaced by another item's, which should be chance:
  what a rule scores there it owes to the options' wording;
- *longer*: tokens of the option ranked first, less the mean over the options, against the same
  difference for the option that the model's own answer names.

How often a rule is right is shown beside these, and decides nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.real import tasks
from unmask.models.subject import Subject
from unmask.tasks import Item, Prompt, Task, row
from unmask.tasks.matching import contains
from unmask.tasks.ranking import NEUTRAL

SIZES = {
    "cities": 60,
    "spanish": 60,
    "arc-challenge": 40,
    "commonsense-qa": 40,
    "mmlu": 40,
    "truthful-qa": 40,
    "tiny-stories": 40,
    "wikitext": 40,
}
"""Items of each task."""
LEAD_IN = "The answer is"
N_OTHERS = 2
"""Other items' questions before which an item's options are scored."""


class Scored(NamedTuple):
    """Log-probabilities of one item's options, in nats."""

    own: np.ndarray
    """After its question."""
    led: np.ndarray
    """After its question and a lead-in."""
    neutral: np.ndarray
    """After a question that asks nothing."""
    others: np.ndarray
    """After other items' questions: ``[others options]``."""
    led_others: np.ndarray
    """The same with a lead-in."""
    tokens: np.ndarray
    octets: np.ndarray


def rules(scored: Scored, own: np.ndarray, led: np.ndarray) -> dict[str, np.ndarray]:
    """Every rule's value of each option, given its log-probabilities after some question."""
    return {
        "per token": own / scored.tokens,
        "per byte": own / scored.octets,
        "sum": own,
        "less prior": own - scored.neutral,
        "sum after a lead-in": led,
        "per token after a lead-in": led / scored.tokens,
    }


def compare(subject: Subject) -> list[dict[str, Any]]:
    """Compare the rules on every task."""
    lines = []
    for name, n in SIZES.items():
        print(f"ranking: {name}", flush=True)
        lines += compare_on(subject, tasks.by_name(name, n))
    return lines


def compare_on(subject: Subject, task: Task) -> list[dict[str, Any]]:
    """Compare the rules on one task."""
    scored = [_score(subject, task, number) for number in range(len(task.items))]
    right = np.array([item.options.index(item.answer) for item in task.items])
    named = _named(subject, task)
    at = [index for index, option in enumerate(named) if option is not None]
    lines = []
    for rule in rules(scored[0], scored[0].own, scored[0].led):
        first = np.array([rules(s, s.own, s.led)[rule].argmax() for s in scored])
        blind = [
            float(rules(s, own, led)[rule].argmax() == answer)
            for s, answer in zip(scored, right, strict=True)
            for own, led in zip(s.others, s.led_others, strict=True)
        ]
        lines.append(
            {
                "task": task.name,
                "rule": rule,
                "items": len(scored),
                "right": float((first == right).mean()),
                "blind": float(np.mean(blind)),
                "chance": float(np.mean([task.chance(item) for item in task.items])),
                "named": len(at),
                "agrees": sum(int(first[i] == named[i]) for i in at),
                "longer": _mean(scored[i].tokens[first[i]] - scored[i].tokens.mean() for i in at),
                "would_be_longer": _mean(
                    scored[i].tokens[named[i]] - scored[i].tokens.mean() for i in at
                ),
            }
        )
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Lay out, for each rule, agreement over all tasks, and each task's right and blind scores."""
    names = list(dict.fromkeys(line["task"] for line in lines))
    head = "| rule | agrees with the model's own answer | " + " | ".join(names) + " |"
    rows = [head, "| --- " * (len(names) + 2) + "|"]
    for rule in dict.fromkeys(line["rule"] for line in lines):
        by_task = {line["task"]: line for line in lines if line["rule"] == rule}
        agrees = sum(line["agrees"] for line in by_task.values())
        named = sum(line["named"] for line in by_task.values())
        cells = [f"{by_task[n]['right']:.2f} ({by_task[n]['blind']:.2f})" for n in names]
        rows.append(f"| {rule} | {agrees} of {named} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _score(subject: Subject, task: Task, number: int) -> Scored:
    item, n = task.items[number], len(task.items)
    others = [task.items[(number + 1 + step * 7) % n] for step in range(N_OTHERS)]
    asked = [item, Item(NEUTRAL, item.answer, item.options), *others]
    prompts = [_prompt(task, one, item) for one in asked]
    led = [prompt.with_(prefill=LEAD_IN) for prompt in (prompts[0], *prompts[2:])]
    if task.frame == "passage":
        led = [prompts[0], *prompts[2:]]
    rows = [row(prompt, subject.tokenizer, subject.chat) for prompt in (*prompts, *led)]
    scores = subject.choices(rows)
    values = [np.array(score.log_probs) for score in scores]
    cut = len(prompts)
    return Scored(
        own=values[0],
        led=values[cut],
        neutral=values[1],
        others=np.array(values[2:cut]),
        led_others=np.array(values[cut + 1 :]),
        tokens=np.array(scores[0].n_tokens),
        octets=np.array([len(option.encode()) for option in item.options]),
    )


def _prompt(task: Task, asked: Item, scored: Item) -> Prompt:
    """Ask one item's question, with the options of another."""
    return Prompt(asked, task.frame, choices=scored.options)


def _named(subject: Subject, task: Task, max_new_tokens: int = 32) -> list[int | None]:
    """The one option that the model's own answer names; None where it names none or several."""
    if task.frame == "passage":
        return [None] * len(task.items)
    prompts = [Prompt(item, task.frame) for item in task.items]
    rows = [row(prompt, subject.tokenizer, subject.chat) for prompt in prompts]
    texts = subject.generate(rows, max_new_tokens=max_new_tokens)
    return [_only(item.options, text) for item, text in zip(task.items, texts, strict=True)]


def _only(options: Sequence[str], text: str) -> int | None:
    hits = [index for index, option in enumerate(options) if contains(option, text)]
    return hits[0] if len(hits) == 1 else None


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None
