"""Damage: how much an edit changes the model on text that has nothing to do with the task."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from unmask.edits import Edit
from unmask.hashing import key_bits
from unmask.models.divergence import kl_under
from unmask.models.rows import Row
from unmask.models.subject import Subject


@cache
def neutral_texts() -> tuple[tuple[str, str], ...]:
    """The bundled neutral passages, each split in two: what is read, and what is predicted."""
    text = files("unmask.tasks").joinpath("neutral.txt").read_text(encoding="utf-8")
    halves = []
    for passage in text.strip().split("\n\n"):
        words = passage.split(" ")
        middle = len(words) // 2
        halves.append((" ".join(words[:middle]), " " + " ".join(words[middle:])))
    return tuple(halves)


def damages(subject: Subject, edits: Sequence[Edit]) -> list[float]:
    """Measure KL(unedited || edited) in nats per token on neutral text, for each edit.

    The first half of each passage is the prompt and the second half the answer, so an edit at some
    positions acts as it does on the task. The mean runs over the predictions made from the last
    prompt token on: those that the edit can change wherever it acts.
    """
    rows = [
        Row(read, (predicted,), key_bits("neutral", number))
        for number, (read, predicted) in enumerate(neutral_texts())
    ]
    return kl_under(subject, rows, edits)
