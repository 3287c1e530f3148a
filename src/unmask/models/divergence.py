"""How far an edit moves the next-token distributions on given texts."""

from collections.abc import Sequence
from contextlib import closing

import torch
from jaxtyping import Bool, Float
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
        sequences.append(TokenRow(read, predicted[:-1], row.key))
    before: dict[tuple[int, ...], Float[Tensor, "pos d_vocab"]] = {}
    totals = [0.0] * (len(edits) + 1)
    with closing(subject.hidden_under(sequences, [NO_EDIT, *edits])) as passes:
        for number, batch, hidden in passes:
            logits = subject.decoder.logits(hidden[_predicting(batch, hidden)])
            before.setdefault(batch.indices, logits)
            totals[number] += _kl_sum(before[batch.indices], logits)
    count = sum(len(row.continuation) + 1 for row in sequences)
    return [total / count for total in totals[1:]]


def _predicting(
    batch: Batch, hidden: Float[Tensor, "batch pos d_model"]
) -> Bool[Tensor, "batch pos"]:
    """Mark the positions from the last prompt token on, among those that were kept."""
    kept = batch.tokens.pos[:, -hidden.shape[1] :]
    return (kept >= batch.tokens.n_prompt[:, None] - 1).to(hidden.device)


def _kl_sum(before: Float[Tensor, "pos d_vocab"], after: Float[Tensor, "pos d_vocab"]) -> float:
    """Sum of KL(before || after) over positions, in nats, in blocks to bound the memory."""
    total = 0.0
    for p, q in zip(before.split(256), after.split(256), strict=True):
        log_p, log_q = p.log_softmax(-1), q.to(p.device).log_softmax(-1)
        total += float((log_p.exp() * (log_p - log_q)).sum().clamp(min=0))
    return total
