"""What found vectors do: plain values for a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import NO_EDIT, AddVector, Edit, Positions, Site
from unmask.models.batch import TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.steering.response import Response
from unmask.steering.spheres import random_units, units

N_TOP = 8
"""Tokens that are named for each direction."""
N_RANDOM = 16
"""Random directions with whose mean response the found ones are compared."""


@dataclass(frozen=True)
class Description:
    """One direction. All text is the model's, and hostile."""

    index: int
    """Its number among those that were found."""
    length: float
    """In units of the stream."""
    change: float
    """Root mean square change at the target, over that of random directions of this length."""
    along: tuple[float, ...]
    """Size of the change where it enters each block from the one after the source to the last, and
    where it leaves that one, over the stream's typical norm there."""
    top_tokens: tuple[str, ...]
    """Whose logits the direction raises most, if it is unembedded as it is."""
    percentile: float | None
    """How strange steered activations are: mean share of ordinary ones that are less so."""
    texts: tuple[tuple[str, str], ...] = ()
    """Continuations of some prompts: unedited, and steered."""


def most_different(
    response: Response, vectors: Float[Tensor, "vectors d_model"], n: int
) -> list[int]:
    """Choose directions whose mean changes point apart.

    The first is the one that changes most; each further one is that whose mean change is, by its
    cosine, farthest from the chosen ones.
    """
    changes = response.mean_of(vectors)
    cosines = units(changes) @ units(changes).T
    chosen = [int(changes.norm(dim=-1).argmax())]
    while len(chosen) < min(n, len(vectors)):
        nearest = cosines[:, chosen].max(1).values
        nearest[chosen] = torch.inf
        chosen.append(int(nearest.argmin()))
    return chosen


def similarities(
    response: Response, vectors: Float[Tensor, "vectors d_model"]
) -> Float[np.ndarray, "vectors vectors"]:
    """Cosines of the mean changes that directions make at the target."""
    changes = units(response.mean_of(vectors))
    return (changes @ changes.T).cpu().numpy()


def sizes_by_block(
    subject: Subject,
    prompts: Sequence[TokenRow],
    source: int,
    vectors: Float[Tensor, "vectors d_model"],
    positions: Positions = "all",
) -> Float[np.ndarray, "vectors blocks"]:
    """Size of the change where it enters each block after `source`, and where it leaves the last.

    Relative to the median norm of the stream's tokens at that place.
    """
    found = []
    for target in range(source + 1, subject.n_layers + 1):
        response = Response(subject, prompts, source, target, positions=positions, n_read=None)
        found.append(response.size_of(vectors.to(response.device)) / response.norm_at_target)
    return torch.stack(found, dim=1).cpu().numpy()


def describe(
    subject: Subject,
    prompts: Sequence[TokenRow],
    response: Response,
    vectors: Float[Tensor, "vectors d_model"],
    *,
    edits: Sequence[Edit] | None = None,
    percentile: Callable[[Tensor], Tensor] | None = None,
    rows: Sequence[Row] = (),
    max_new_tokens: int = 32,
) -> list[Description]:
    """Describe directions.

    Args:
        subject: The model.
        prompts: Those of `response`.
        response: What the search looked at; without a basis.
        vectors: The directions.
        edits: What adds each of them; by default `AddVector` where `response` adds it.
        percentile: Of activations at the source, as a density gives it; None to leave it out.
        rows: Prompts that are continued, unedited and steered.
        max_new_tokens: Of each continuation.
    """
    vectors = vectors.to(response.device)
    lengths = vectors.norm(dim=-1)
    random = random_units(N_RANDOM, response.d_model, 0, response.device)
    usual = float(response.size_of(float(lengths.mean()) * random).square().mean().sqrt())
    sizes = response.size_of(vectors).tolist()
    along = sizes_by_block(subject, prompts, response.source, vectors, response.positions)
    top = top_tokens(subject, vectors)
    site = Site(response.source, "resid_pre", response.positions)
    added = edits or [AddVector(site, vector) for vector in vectors]
    texts = _texts(subject, rows, added, max_new_tokens)
    described = []
    for index, vector in enumerate(vectors):
        strange = None
        if percentile is not None:
            strange = float(percentile((response.entering + vector).float().cpu()).mean())
        described.append(
            Description(
                index,
                float(lengths[index]),
                sizes[index] / usual,
                tuple(float(size) for size in along[index]),
                top[index],
                strange,
                texts[index],
            )
        )
    return described


@torch.no_grad()
def top_tokens(
    subject: Subject, vectors: Float[Tensor, "vectors d_model"]
) -> list[tuple[str, ...]]:
    """The tokens whose logits each vector raises most, if it is unembedded as it is."""
    dtype = next(subject.model.parameters()).dtype
    logits = subject.decoder.logits(vectors.to(subject.decoder.device, dtype))
    best = logits.topk(min(N_TOP, logits.shape[-1]), dim=-1).indices.tolist()
    return [tuple(str(subject.tokenizer.decode([token])) for token in line) for line in best]


def _texts(
    subject: Subject, rows: Sequence[Row], edits: Sequence[Edit], max_new_tokens: int
) -> list[tuple[tuple[str, str], ...]]:
    if not rows:
        return [()] * len(edits)
    before, *after = subject.generate_under(
        rows, [NO_EDIT, *edits], max_new_tokens=max_new_tokens, thinking=0
    )
    return [tuple(zip(before, line, strict=True)) for line in after]
