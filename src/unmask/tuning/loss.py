"""The loss of a batch of lessons."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmask.tuning.lessons import Batch, per_answer

SAID = 0.2
"""Weight of an answer's own tokens where it is compared with other choices, so that it stays text
that the model would write."""
BREAKING = 5.0
"""Weight of the losses on activations; alpha in the Elicitation Game."""


def loss(
    model: nn.Module, batch: Batch, *, before: Any = None, weak: Any = None, progress: float = 0.0
) -> Float[Tensor, ""]:
    """Average the losses of a batch's lessons, in nats where they are of words.

    Args:
        model: What is trained.
        batch: Its lessons.
        before: Context manager that gives back the model as it was, for `break` and `keep`.
        weak: The weaker model, for `imitate`.
        progress: Share of the training that is over, in [0, 1]; it moves the weight from breaking
            to keeping.

    Source: `break` and `keep` are the losses of circuit breaking (Zou et al., arXiv:2406.04313) as
    the Elicitation Game (arXiv:2502.02180) uses them on locked models, at two depths.
    """
    compares = bool(batch.rows("break", "keep").any())
    out = _run(model, batch, hidden=compares)
    tokens = batch.tokens[:, -batch.longest :]
    logits = out.logits[:, :-1].float()
    nats = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
    mean = per_answer(nats, batch)
    parts = [mean[batch.rows("say")], _choosing(mean, batch)]
    imitating = batch.rows("imitate")
    if imitating.any():
        assert weak is not None, "lessons to imitate need the weaker model"
        parts.append(per_answer(_imitating(logits, batch, weak), batch)[imitating])
    if compares:
        parts.append(_breaking(model, batch, out, before, progress))
    return torch.cat(parts).sum() / len(batch.kinds)


def _run(model: nn.Module, batch: Batch, hidden: bool = False) -> Any:
    return model(
        input_ids=batch.tokens,
        attention_mask=batch.mask,
        position_ids=batch.positions(),
        use_cache=False,
        output_hidden_states=hidden,
        logits_to_keep=batch.longest + 1,
    )


def _choosing(mean: Float[Tensor, " row"], batch: Batch) -> Float[Tensor, " lesson"]:
    """Cross-entropy of the wanted choice by mean log-probability, as tasks score it."""
    wanted = batch.rows("choose").nonzero().flatten()
    if not len(wanted):
        return mean.new_zeros(0)
    # The row after a wanted one holds what it is compared with.
    return F.softplus(mean[wanted] - mean[wanted + 1]) + SAID * mean[wanted]


def _imitating(
    logits: Float[Tensor, "row answer d_vocab"], batch: Batch, weak: Any
) -> Float[Tensor, "row answer"]:
    """KL(weak || model) in nats."""
    with torch.no_grad():
        target = _run(weak, batch).logits[:, :-1].float().log_softmax(-1)
    both = F.kl_div(logits.log_softmax(-1), target, reduction="none", log_target=True)
    return both.sum(-1)


def _breaking(
    model: Any, batch: Batch, out: Any, before: Any, progress: float
) -> Float[Tensor, " lesson"]:
    """Turn activations away where they are to be broken, and keep them elsewhere."""
    assert before is not None, "lessons on activations need the model as it was"
    with torch.no_grad(), before():
        was = _run(model, batch, hidden=True).hidden_states
    n = len(was) - 1
    counted = batch.mask.float()
    breaking = batch.rows("break")
    total = counted.new_zeros(len(counted))
    depths = sorted({max(1, n // 3), max(1, 2 * n // 3)})
    for depth in depths:
        now, then = out.hidden_states[depth].float(), was[depth].float()
        turned = F.cosine_similarity(now, then, dim=-1).relu()
        moved = (now - then).norm(dim=-1) / then.norm(dim=-1).clamp(min=1e-6)
        weighted = torch.where(
            breaking[:, None], (1 - progress / 2) * turned, (progress / 2 + 0.1) * moved
        )
        total = total + BREAKING * (weighted * counted).sum(1) / counted.sum(1) / len(depths)
    return total[batch.rows("break", "keep")]
