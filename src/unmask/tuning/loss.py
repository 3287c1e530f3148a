"""The loss of a batch of lessons."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmask.models.applying import tensor_of
from unmask.tuning.lessons import Batch, per_answer

SAID = 0.2
"""Weight of an answer's own tokens where it is compared with other choices, so that it stays text
that the model would write."""
BREAKING = 5.0
"""Weight of the losses on activations; alpha in the Elicitation Game."""


def loss(
    model: nn.Module,
    batch: Batch,
    *,
    blocks: Sequence[nn.Module] = (),
    was: Sequence[Float[Tensor, "row pos d_model"]] = (),
    weak: Any = None,
    progress: float = 0.0,
) -> Float[Tensor, ""]:
    """Average the losses of a batch's lessons, in nats where they are of words.

    Args:
        model: What is trained.
        batch: Its lessons.
        blocks: Of the model, whose outputs are compared for `break` and `keep`: see `compared`.
        was: What `outputs` returned of them before anything was trained.
        weak: The weaker model, for `imitate`.
        progress: Share of the training that is over, in [0, 1]; it moves the weight from breaking
            to keeping.

    Source: `break` and `keep` are the losses of circuit breaking (Zou et al., arXiv:2406.04313) as
    the Elicitation Game (arXiv:2502.02180) uses them on locked models, at two depths.
    """
    compares = bool(batch.rows("break", "keep").any())
    assert not compares or was, "lessons on activations need those of the model as it was"
    out, now = _run(model, batch, blocks)
    tokens = batch.tokens[:, -batch.longest :]
    logits = out.logits[:, :-1].float()
    nats = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
    mean = per_answer(nats, batch)
    total = (nats * batch.answer[:, -nats.shape[1] :]).sum(1)
    parts = [mean[batch.rows("say")], _choosing(total, mean, batch)]
    imitating = batch.rows("imitate")
    if imitating.any():
        assert weak is not None, "lessons to imitate need the weaker model"
        parts.append(per_answer(_imitating(logits, batch, weak), batch)[imitating])
    if compares:
        parts.append(_breaking(batch, now, was, progress))
    return torch.cat(parts).sum() / len(batch.kinds)


def compared(blocks: nn.ModuleList) -> list[nn.Module]:
    """Choose the blocks whose outputs are broken or kept: at a third and at two thirds."""
    n = len(blocks)
    return [blocks[depth - 1] for depth in sorted({max(1, n // 3), max(1, 2 * n // 3)})]


@torch.no_grad()
def outputs(
    model: nn.Module, batch: Batch, blocks: Sequence[nn.Module]
) -> list[Float[Tensor, "row pos d_model"]]:
    """Return what leaves some blocks.

    Under autocast call this in a region of its own: weights that were cast once are cast no more
    within it, and neither gradients nor weights that are copied in between would count.
    """
    return _run(model, batch, blocks)[1]


def _run(model: nn.Module, batch: Batch, blocks: Sequence[nn.Module] = ()) -> tuple[Any, Any]:
    # Asking for `output_hidden_states` would leave transformers' hooks on the model for good.
    seen: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: seen.append(tensor_of(out)))
        for block in blocks
    ]
    try:
        out = model(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=batch.positions(),
            use_cache=False,
            logits_to_keep=batch.longest + 1,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return out, seen


def _choosing(
    total: Float[Tensor, " row"], mean: Float[Tensor, " row"], batch: Batch
) -> Float[Tensor, " lesson"]:
    """Cross-entropy of the wanted choice by whole log-probability, as tasks rank it."""
    wanted = batch.rows("choose").nonzero().flatten()
    if not len(wanted):
        return mean.new_zeros(0)
    # The row after a wanted one holds what it is compared with.
    return F.softplus(total[wanted] - total[wanted + 1]) + SAID * mean[wanted]


def _imitating(
    logits: Float[Tensor, "row answer d_vocab"], batch: Batch, weak: Any
) -> Float[Tensor, "row answer"]:
    """KL(weak || model) in nats."""
    with torch.no_grad():
        target = _run(weak, batch)[0].logits[:, :-1].float().log_softmax(-1)
    both = F.kl_div(logits.log_softmax(-1), target, reduction="none", log_target=True)
    return both.sum(-1)


def _breaking(
    batch: Batch, after: Sequence[Tensor], was: Sequence[Tensor], progress: float
) -> Float[Tensor, " lesson"]:
    """Turn activations away where they are to be broken, and keep them elsewhere."""
    counted = batch.mask.float()
    breaking = batch.rows("break")
    total = counted.new_zeros(len(counted))
    for now, then in zip(after, was, strict=True):
        now, then = now.float(), then.float()
        turned = F.cosine_similarity(now, then, dim=-1).relu()
        moved = (now - then).norm(dim=-1) / then.norm(dim=-1).clamp(min=1e-6)
        weighted = torch.where(
            breaking[:, None], (1 - progress / 2) * turned, (progress / 2 + 0.1) * moved
        )
        total = total + BREAKING * (weighted * counted).sum(1) / counted.sum(1) / len(was)
    return total[batch.rows("break", "keep")]
