"""What a head moves, in tokens: the singular vectors of its OV circuit, unembedded.

Source: Millidge and Black (2022), "The singular value decompositions of transformer weight matrices
are highly interpretable".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound
from unmask.models.diagrams.parts import Parts, centred
from unmask.models.diagrams.reading import parts_of
from unmask.models.subject import Subject


@dataclass(frozen=True)
class SingularDirection:
    """One direction that is read and the one that is written for it."""

    value: float
    """The singular value."""
    gap: float
    """How far the nearest other one is, relative to this. Near zero, the directions of the two are
    not told apart, and their tokens mean nothing one by one."""
    reads: tuple[str, ...]
    """Tokens whose embeddings lie furthest along what is read."""
    writes: tuple[str, ...]
    """Tokens whose logits then rise most."""
    reads_against: tuple[str, ...]
    """Tokens furthest the other way; a direction has no sign, only its two ends have."""
    writes_against: tuple[str, ...]
    """Tokens whose logits rise most for those."""


@torch.no_grad()
def unembed_singular(
    subject: Subject, ov: Bound | tuple[int, int], k: int = 5, n_tokens: int = 8
) -> tuple[SingularDirection, ...]:
    """Decompose an OV circuit and say its strongest directions in tokens.

    Args:
        subject: The model.
        ov: Layer and head, which is decomposed through its factors; or a diagram from residual
            stream to residual stream, which is contracted first, such as a product of heads' `ov`.
        k: How many directions.
        n_tokens: How many tokens at each end.

    Raises:
        SettingError: If a number is below 1, there is no such head, or the diagram is of another
            shape.
        SubjectError: If the architecture is not supported.
    """
    if k < 1 or n_tokens < 1:
        raise SettingError(
            f"expected k and n_tokens of at least 1, got {k} and {n_tokens}. They are how many "
            "directions, and tokens at each end, are returned."
        )
    parts = parts_of(subject)
    left, values, right = _of_diagram(parts, ov) if isinstance(ov, Bound) else _of_head(parts, *ov)
    outward = parts.norm.weight[:, None] * (centred(right) if parts.centres else right)
    n = len(subject.tokenizer)  # rows beyond are padding of the embedding
    read = parts.W_E[:n].float() @ left[:, :k]
    written = parts.W_U[:n].float() @ outward[:, :k]
    return tuple(
        SingularDirection(
            float(values[i]),
            _gap(values, i),
            *(
                _tokens(subject, sign * side[:, i], n_tokens)
                for sign in (1, -1)
                for side in (read, written)
            ),
        )
        for i in range(min(k, len(values)))
    )


def _of_head(parts: Parts, layer: int, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """The SVD of ``V O`` in cores of width d_head."""
    attention = parts.attention(layer, head)
    V, O = attention.reading("V")[0][attention.kv_head(head)], attention.writing[head]  # noqa: E741
    Q_in, R_in = torch.linalg.qr(centred(V) if parts.centres else V)
    Q_out, R_out = torch.linalg.qr(O.T)
    U, values, Vh = torch.linalg.svd(R_in @ R_out.T)
    return Q_in @ U, values, Q_out @ Vh.T


def _of_diagram(parts: Parts, ov: Bound) -> tuple[Tensor, Tensor, Tensor]:
    d = parts.d_model
    if len(ov.shape) != 2 or any(size not in (d, d + 1) for size in ov.shape):
        raise SettingError(
            f"expected a diagram from residual stream to residual stream, two legs of size {d}, "
            f"got legs {', '.join(ov.legs)} of sizes {ov.shape}. A circuit between tokens has the "
            "embeddings in it already; pass the head's `ov`."
        )
    U, values, Vh = torch.linalg.svd(ov.value()[:d, :d], full_matrices=False)
    return U, values, Vh.T


def _gap(values: Float[Tensor, " rank"], i: int) -> float:
    others = torch.cat([values[:i], values[i + 1 :]])
    if not len(others) or values[i] == 0:
        return 0.0
    return float((others - values[i]).abs().min() / values[i])


def _tokens(subject: Subject, along: Float[Tensor, " vocab"], n: int) -> tuple[str, ...]:
    best = along.topk(min(n, len(along))).indices.tolist()
    return tuple(str(subject.tokenizer.decode([index])) for index in best)
