"""Heads that continue a repeated text: what they do, and what their weights could.

Source: Olsson et al. (2022), "In-context Learning and Induction Heads": the prefix-matching score.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from unmask.errors import SettingError
from unmask.models.diagrams.composing import Composed, composition_scores
from unmask.models.diagrams.freezing import attend
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class InductionScores:
    """Scores of all heads."""

    prefix_matching: Float[Tensor, "layer head"]
    """Mean attention, in the second copy of a random text, to the token after the first copy's
    occurrence of the present token."""
    previous_token: Float[Tensor, "layer head"]
    """Mean attention to the token before, which the first head of an induction circuit has."""
    K: Float[Tensor, "layer head later later_head"]
    """K-composition, by weights alone; see `composition_scores`."""
    chance: float
    """What attention spread evenly over what is seen would give for prefix matching."""
    gain_nats: float
    """How much lower the loss per token is in the second copy: whether the model does it at all."""

    @property
    def strongest(self) -> tuple[int, int, float]:
        """Layer, head and score of the highest prefix matching."""
        n_heads = self.prefix_matching.shape[1]
        score, index = self.prefix_matching.flatten().max(0)
        return int(index) // n_heads, int(index) % n_heads, float(score)

    def partners(self, layer: int, head: int, n: int = 3) -> list[Composed]:
        """Earlier heads that a head reads most by its keys."""
        scores = self.K[:layer, :, layer, head]
        best = scores.flatten().topk(min(n, scores.numel()))
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        n_heads = self.K.shape[1]
        return [Composed(divmod(at, n_heads), (layer, head), score) for score, at in pairs]


def induction_scores(
    subject: Subject,
    generator: torch.Generator,
    *,
    n_rows: int = 8,
    length: int | None = None,
) -> InductionScores:
    """Look for induction heads on random texts that are repeated once.

    Args:
        subject: The model.
        generator: Draws the tokens.
        n_rows: Number of texts.
        length: Tokens of a text; by default 50, or what fits twice into the context.

    Raises:
        SettingError: If the texts do not fit, or are shorter than 2 tokens.
        SubjectError: If the architecture is not supported.
    """
    # A token of its own comes first, since many heads rest on the first one.
    fits = (subject.n_ctx - 1) // 2
    length = min(50, fits) if length is None else length
    if n_rows < 1 or not 2 <= length <= fits:
        raise SettingError(
            f"expected at least one row of 2 to {fits} tokens, which fit twice into the context, "
            f"got {n_rows} of {length}. Leave the length out for one that fits."
        )
    special = set(subject.tokenizer.all_special_ids)
    plain = torch.tensor([i for i in range(len(subject.tokenizer)) if i not in special])
    drawn = plain[torch.randint(len(plain), (n_rows, length), generator=generator)]
    start = subject.tokenizer.bos_token_id
    first = torch.full((n_rows, 1), start if isinstance(start, int) else subject.pad)
    rows = torch.cat([first, drawn, drawn], 1)
    logits, patterns = attend(subject, rows.tolist())
    stacked = torch.stack([pattern.float().mean(0) for pattern in patterns])
    # Row i of a diagonal at -n is the attention of i to i - n; the last copy's queries are taken.
    matched = stacked.diagonal(1 - length, -2, -1)[..., -length:].mean(-1)
    before = stacked.diagonal(-1, -2, -1)[..., 1:].mean(-1)
    seen = torch.arange(length + 1, 2 * length + 1) + 1.0
    loss_nats = cross_entropy(
        rearrange(logits[:, :-1], "row pos vocab -> row vocab pos"),
        rows[:, 1:].to(logits.device),
        reduction="none",
    )
    first_nats, second_nats = loss_nats.mean(0).view(2, length).mean(1).tolist()
    return InductionScores(
        prefix_matching=matched,
        previous_token=before,
        K=composition_scores(subject).K,
        chance=float(seen.reciprocal().mean()),
        gain_nats=first_nats - second_nats,
    )
