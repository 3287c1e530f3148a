"""The path expansion of a transformer's residual stream, ranked by norm.

From embedding to logits: the direct path ``W_E W_U``, one head ``W_E OV W_U``, two heads ``W_E OV
OV' W_U``. Each term is a map from tokens to tokens. Attention patterns, which mix positions, are
held aside; MLPs, biases and learned positions are not expanded.

Source: Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits". There the terms
are shown; here they are ranked, without an array of vocab x vocab or of d_model^2 x d_model^2.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound
from unmask.models.diagrams.factors import HeadFactors, gram, pair_norms, root
from unmask.models.diagrams.freezing import Frozen
from unmask.models.diagrams.heads import output, values
from unmask.models.diagrams.parts import Parts, centred
from unmask.models.diagrams.reading import parts_of
from unmask.models.diagrams.residual import Residual
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class PathTerm:
    """One path from the embedding to the logits."""

    heads: tuple[tuple[int, int], ...]
    """Layer and head of those it passes, in order; none: the direct path."""
    norm: float
    """Frobenius norm of the map from vocab to vocab."""
    share: float
    """Its square, of the sum of the squares of all terms. Terms are not orthogonal, so shares rank
    them and are no decomposition of a variance."""
    bound: Bound = field(repr=False)
    """Legs ``source out``, of dimension vocab."""


@dataclass(frozen=True, eq=False)
class PathExpansion:
    """The strongest terms."""

    terms: tuple[PathTerm, ...]
    n_terms: int
    """How many were compared."""
    total: float
    """Root of the sum of the squares of all their norms."""


@torch.no_grad()
def path_expansion(
    subject: Subject, top: int = 20, max_heads: int = 2, frozen: Frozen | None = None
) -> PathExpansion:
    """Rank the paths through at most two heads by the norm of their map from tokens to logits.

    Heads of one layer do not compose. With L layers of H heads there are ``1 + L H + H^2 L (L - 1)
    / 2`` terms.

    Args:
        subject: The model.
        top: How many to return.
        max_heads: 0, 1 or 2.
        frozen: Its norms' factors scale the terms, by their root mean square over positions;
            without it they are 1, which makes little of layers that read a small residual stream.
            The diagrams, and their values, are without factors.

    Raises:
        SettingError: If `top` is below 1 or `max_heads` is not 0, 1 or 2.
        SubjectError: If the architecture is not supported.
    """
    if top < 1 or max_heads not in (0, 1, 2):
        raise SettingError(
            f"expected top of at least 1 and max_heads of 0, 1 or 2, got {top} and {max_heads}. "
            "Longer paths are too many to compare; follow one with the @ of heads' diagrams."
        )
    parts = parts_of(subject)
    if frozen is not None:
        frozen.require_of(parts)
    norms = _norms(parts, max_heads, frozen)
    found = torch.cat([one.flatten() for one in norms])
    compared = found.isfinite()
    total = found[compared].square().sum()
    best = torch.where(compared, found, -1.0).topk(min(top, int(compared.sum()))).indices
    residual = Residual(parts, constant=False)
    terms = []
    for index in best.tolist():
        heads = _heads(index, norms)
        norm = found[index]
        share = float(norm.square() / total)
        terms.append(PathTerm(heads, float(norm), share, path(residual, heads)))
    return PathExpansion(tuple(terms), int(compared.sum()), float(total.sqrt()))


def path(residual: Residual, heads: tuple[tuple[int, int], ...]) -> Bound:
    """The diagram of one path: legs ``source out``, of dimension vocab."""
    made = residual.tokens(vocab="source")
    for layer, head in heads:
        attention = residual.parts.attention(layer, head)
        made = made @ values(residual, attention, (layer, head))
        made = made @ output(residual, attention, (layer, head))
    return (made @ residual.unembedding)(vocab="out")


def _norms(parts: Parts, max_heads: int, frozen: Frozen | None) -> list[Tensor]:
    """Norms of the paths through none, one, and two heads, the last NaN where there is no path."""
    embedding = gram(parts.W_E)
    unembedding = embedding if parts.tied else gram(parts.W_U)
    weight = parts.norm.weight.double()
    if frozen is not None:
        weight = weight * _typical(frozen.final_scale)
    unembedding = weight[:, None] * unembedding * weight
    if parts.centres:
        unembedding = centred(centred(unembedding).T)
    embedding = embedding * parts.embed_scale**2
    found = [(embedding * unembedding).sum().clamp(min=0).sqrt()[None]]
    if max_heads == 0:
        return found
    V, O = _values_and_outputs(HeadFactors.of(parts), frozen)  # noqa: E741
    before = V.double().mT @ embedding @ V.double()
    after = O.double() @ unembedding @ O.double().mT
    found.append((before * after).sum((-1, -2)).clamp(min=0).sqrt())
    if max_heads == 2:
        left = root(before).mT.to(O) @ O
        right = V @ root(after).to(V)
        found.append(pair_norms(left, right).double())
    return found


def _values_and_outputs(heads: HeadFactors, frozen: Frozen | None) -> tuple[Tensor, Tensor]:
    V, O = heads.V, heads.O  # noqa: E741
    if frozen is None:
        return V, O
    before = V.new_tensor([_typical(at.scale) for at in frozen.blocks])
    after = V.new_tensor([_typical(at.post_scale) for at in frozen.blocks])
    return V * before[:, None, None, None], O * after[:, None, None, None]


def _typical(scale: Float[Tensor, " pos"] | None) -> float:
    return 1.0 if scale is None else float(scale.square().mean().sqrt())


def _heads(index: int, norms: list[Tensor]) -> tuple[tuple[int, int], ...]:
    """Which path a place in the flattened norms is."""
    for norm in norms:
        if index < norm.numel():
            if norm is norms[0]:
                return ()
            at = [int(i) for i in torch.unravel_index(torch.tensor(index), norm.shape)]
            return tuple(zip(at[::2], at[1::2], strict=True))
        index -= norm.numel()
    raise AssertionError("an index beyond all norms")
