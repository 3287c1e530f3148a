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
    weights: dict[int, Float[Tensor, "pos d_vocab"]] = {}
    found: list[dict[int, float]] = [{} for _ in range(len(edits) + 1)]

    def compare(number: int, batch: Batch, hidden: Float[Tensor, "batch read d_model"]) -> None:
        predicting = batch.tokens.pos[:, batch.n_prompt - 1 :] >= 0
        for row, mine, real in zip(batch.indices, hidden, predicting, strict=True):
            logits = subject.decoder.logits(mine[real.to(mine.device)])
            if number == 0:
                before[row] = logits
                weights[row] = logits.softmax(-1)
            found[number][row] = _kl_sum(before[row], weights[row], logits)

    subject.hidden_under(sequences, [NO_EDIT, *edits], compare)
    count = sum(len(row) - len(row.prompt) + 1 for row in sequences)
    return [sum(of_rows.values()) / count for of_rows in found[1:]]


def _kl_sum(
    before: Float[Tensor, "pos d_vocab"],
    weights: Float[Tensor, "pos d_vocab"],
    after: Float[Tensor, "pos d_vocab"],
) -> float:
    """Sum of KL(before || after) over positions, in nats.

    With ``p = softmax(before)`` it is ``lse(after) - lse(before) - p . (after - before)``, of
    differences of logits, so that equal ones give exactly 0.

    Args:
        before: Logits.
        weights: Their softmax.
        after: Logits.
    """
    change = after.to(before.device) - before
    expected = torch.linalg.vecdot(weights, change)
    nats = (before + change).logsumexp(-1) - before.logsumexp(-1) - expected
    return float(nats.clamp(min=0).sum())
