"""How much heads compose: Q-, K- and V-composition.

A head adds ``V O`` to the residual stream; a later one reads it by its queries, keys or values. The
score is the share that comes through, ``|V O W| / (|V O| |W|)`` in Frobenius norms, where W is ``Q
K^T``, ``K Q^T`` or ``V O`` of the later head. All products are of width d_head.

Source: Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits". Norms' weights
and centring are folded in, and rotary positions are those of tokens at one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound
from unmask.models.diagrams.factors import HeadFactors, pair_norms, root
from unmask.models.diagrams.heads import keys, output, queries, values
from unmask.models.diagrams.reading import parts_of
from unmask.models.diagrams.residual import Residual
from unmask.models.subject import Subject

Kind = Literal["Q", "K", "V"]


class Composed(NamedTuple):
    """A pair of heads."""

    first: tuple[int, int]
    """Layer and head of the one that writes."""
    second: tuple[int, int]
    """Layer and head of the one that reads."""
    score: float


@dataclass(frozen=True, eq=False)
class CompositionScores:
    """Scores of all pairs, NaN where the reader is not in a later layer."""

    Q: Float[Tensor, "layer head later later_head"]
    K: Float[Tensor, "layer head later later_head"]
    V: Float[Tensor, "layer head later later_head"]
    baseline: Mapping[str, float] | None
    """By kind, the mean score of Gaussian matrices of the same shapes."""

    def top(self, kind: Kind, n: int = 10) -> list[Composed]:
        """The pairs of highest score."""
        scores: Tensor = getattr(self, kind)
        flat = scores.flatten().nan_to_num(nan=-1.0)
        best = flat.topk(min(n, int((flat >= 0).sum())))
        found = []
        for score, index in zip(best.values.tolist(), best.indices, strict=True):
            a, b, c, d = (int(i) for i in torch.unravel_index(index, scores.shape))
            found.append(Composed((a, b), (c, d), score))
        return found


@torch.no_grad()
def composition_scores(
    subject: Subject, *, generator: torch.Generator | None = None
) -> CompositionScores:
    """Score the composition of every head with every later one.

    Args:
        subject: The model.
        generator: Draws Gaussian heads for a baseline; without it there is none.

    Raises:
        SubjectError: If the architecture is not supported.
    """
    heads = HeadFactors.of(parts_of(subject))
    baseline = None
    if generator is not None:
        drawn = _scores(heads.random(generator))
        baseline = {kind: float(scores.nanmean()) for kind, scores in drawn.items()}
    return CompositionScores(**_scores(heads), baseline=baseline)


def _scores(heads: HeadFactors) -> dict[str, Tensor]:
    Q, K, V, O = heads.Q, heads.K, heads.V, heads.O  # noqa: E741
    grams = {"Q": Q.mT @ Q, "K": K.mT @ K, "V": V.mT @ V, "O": O @ O.mT}
    written = root(grams["V"]).mT.to(O) @ O
    found = {}
    for kind, near, far in (("Q", Q, "K"), ("K", K, "Q"), ("V", V, "O")):
        norms = pair_norms(written, near @ root(grams[far]).to(near))
        writer, reader = _norm(grams["V"], grams["O"]), _norm(grams[kind], grams[far])
        found[kind] = norms / (writer[:, :, None, None] * reader)
    return found


def _norm(one: Tensor, other: Tensor) -> Tensor:
    """|A B^T| from A^T A and B^T B."""
    return (one * other).sum((-1, -2)).sqrt()


def composition(
    subject: Subject, kind: Kind, first: tuple[int, int], second: tuple[int, int]
) -> Bound:
    """The square of a score's numerator as a closed diagram, which is a number.

    Args:
        subject: The model.
        kind: What of the later head reads the earlier one.
        first: Layer and head of the one that writes.
        second: Layer and head of the one that reads.

    Raises:
        SettingError: If there is no such head, or the second is not in a later layer.
        SubjectError: If the architecture is not supported.
    """
    parts = parts_of(subject)
    residual = Residual(parts, constant=False)
    writer, reader = parts.attention(*first), parts.attention(*second)
    if second[0] <= first[0]:
        raise SettingError(
            f"expected a head that reads in a later layer than {first[0]}, got layer {second[0]}. "
            "Heads of one layer do not see each other; the order is probably exchanged."
        )
    W_Q, W_K = queries(residual, reader, second), keys(residual, reader, second)
    reads = {
        "Q": lambda: W_Q @ W_K.T,
        "K": lambda: W_K @ W_Q.T,
        "V": lambda: values(residual, reader, second) @ output(residual, reader, second),
    }[kind]()
    whole = values(residual, writer, first) @ output(residual, writer, first) @ reads
    return whole.times(whole, {name: name for name in whole.legs})
