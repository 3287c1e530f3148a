"""Prompts to search over: a task's, given texts, or the bundled neutral passages."""

from collections.abc import Sequence

from unmask.models.batch import TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.tasks import Task, row
from unmask.tasks.damage import neutral_texts

N_WORDS = 16
"""Of neutral passages that serve as prompts."""


def prompts_of(
    subject: Subject, task: Task | None = None, texts: Sequence[str] = (), n: int = 64
) -> list[Row]:
    """Write prompts as the model reads them.

    Args:
        subject: The model; plain texts become a user's turn where it has a chat template.
        task: Whose questions are asked, the first by hash.
        texts: Used where there is no task; without either, the first words of neutral passages
            (never as a turn).
        n: Most prompts.
    """
    if task is not None:
        chosen = task.take(n).items
        return [row(task.prompts(item)[0], subject.tokenizer, subject.chat) for item in chosen]
    if not texts:
        starts = [" ".join(read.split()[:N_WORDS]) for read, _ in neutral_texts()]
        return [Row(text, key=number) for number, text in enumerate(starts)][:n]
    if not subject.chat:
        return [Row(text, key=number) for number, text in enumerate(texts)][:n]
    return [_turn(subject, text, number) for number, text in enumerate(texts)][:n]


def token_rows(subject: Subject, rows: Sequence[Row]) -> list[TokenRow]:
    """Tokenize prompts."""
    return [TokenRow(subject.encode(r.text, templated=r.templated), key=r.key) for r in rows]


def _turn(subject: Subject, text: str, key: int) -> Row:
    turns = [{"role": "user", "content": text}]
    written = subject.tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )
    return Row(str(written), key=key, templated=True)
