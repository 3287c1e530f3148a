"""How far an edit moves the next-token distributions on given texts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import NO_EDIT, Edit
from unmask.models.batch import Batch, TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject


@torch.no_grad()
def kl_under(subject: Subject, rows: Sequence[Row], edits: Sequence[Edit]) -> list[float]:
    """Measure KL(unedited || edited) in nats per token, for each edit.

    Args:
        subject: The model.
        rows: Texts, each with one choice: what is predicted. The mean runs over the predictions of
            its tokens in all rows.
        edits: Each compared with the unedited model.

    Returns:
        One value of at least 0 for each edit.
    """
    sequences = []
    for row in rows:
        read, predicted = subject.encode(row.text), subject.continuation(row.text, row.choices[0])
        read = read[-max(subject.n_ctx // 2, 1) :]  # a short context keeps the nearest text
        predicted = predicted[: max(subject.n_ctx - len(read), 1)]
        sequences.append(TokenRow(read, (predicted[:-1],), row.key))
    before: dict[int, Float[Tensor, "pos d_vocab"]] = {}
    found: list[dict[int, float]] = [{} for _ in range(len(edits) + 1)]

    def compare(number: int, batch: Batch, hidden: Float[Tensor, "batch read d_model"]) -> None:
        predicting = batch.tokens.pos[:, batch.n_prompt - 1 :] >= 0
        for row, mine, real in zip(batch.indices, hidden, predicting, strict=True):
            logits = subject.decoder.logits(mine[real.to(mine.device)])
            if number == 0:
                before[row] = logits
            found[number][row] = _kl_sum(before[row], logits)

    subject.hidden_under(sequences, [NO_EDIT, *edits], compare)
    count = sum(len(row) - len(row.prompt) + 1 for row in sequences)
    return [sum(of_rows.values()) / count for of_rows in found[1:]]


def _kl_sum(before: Float[Tensor, "pos d_vocab"], after: Float[Tensor, "pos d_vocab"]) -> float:
    """Sum of KL(before || after) over positions, in nats, in blocks to bound the memory."""
    total = 0.0
    for p, q in zip(before.split(256), after.split(256), strict=True):
        log_p, log_q = p.log_softmax(-1), q.to(p.device).log_softmax(-1)
        total += float((log_p.exp() * (log_p - log_q)).sum().clamp(min=0))
    return total
