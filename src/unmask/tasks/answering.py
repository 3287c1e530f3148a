"""Put prompts of a task to a subject and score what comes back."""

from collections.abc import Sequence

from unmask.edits import Edit
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.tasks.item import Prompt
from unmask.tasks.scoring import NEXT_QUESTION, ItemScore, choice_score, text_score
from unmask.tasks.task import Task


def answers_under(
    subject: Subject,
    task: Task,
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    edits: Sequence[Edit],
) -> list[list[ItemScore]]:
    """Score a subject's answers to prompts under each of several edits.

    A written answer is read to its end: the model's end token, the task's number of tokens, or the
    next question of a base model. Where only the first line is compared, it ends there.

    Args:
        subject: Who is asked.
        task: How answers are given and compared.
        prompts: What is asked.
        rows: The same as the subject reads them (`unmask.tasks.row`).
        edits: Each applies to all prompts.

    Returns:
        For each edit, the score of each prompt.
    """
    if task.format == "open":
        stop = ("\n", NEXT_QUESTION) if task.match == "exact" else (NEXT_QUESTION,)
        texts = subject.generate_under(rows, edits, max_new_tokens=task.max_new_tokens, stop=stop)
        return [
            [text_score(task, p.item, text) for p, text in zip(prompts, line, strict=True)]
            for line in texts
        ]
    return [
        [choice_score(p, scores, task.format) for p, scores in zip(prompts, line, strict=True)]
        for line in subject.choices_under(rows, edits)
    ]
