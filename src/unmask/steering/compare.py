"""Does the gradient at zero point to what vectors of finite length do?

Where activations lie on a plateau, the response to a short vector says little about that to a long
one. Directions from three sources are compared at zero and at a finite length: found at that length
(MELBO), found by the gradient at zero (the Jacobian's leading directions), and random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from unmask.models.batch import TokenRow
from unmask.models.subject import Subject
from unmask.steering.dct import Dct
from unmask.steering.melbo import Melbo
from unmask.steering.response import Response, Vectors
from unmask.steering.spheres import random_units

KINDS = ("finite", "gradient", "random")

Behaviour = tuple[int, int]
"""A prompt, and a token that the model would write after it under some vector but not without."""


class Effect(NamedTuple):
    """One direction at length R, at the target: mean change over prompts and tokens read."""

    linear: float
    """Length of the change that the gradient at zero predicts, ``R |J v|``."""
    finite: float
    """Length of the change, ``|D(R v)|``."""
    cosine: float
    """Of the two changes; below 0 the gradient points the wrong way."""


@dataclass(frozen=True)
class Comparison:
    """What the gradient at zero says about vectors of one length."""

    radius: float
    """In units of the stream."""
    effects: Mapping[str, tuple[Effect, ...]]
    """For each kind of directions."""
    correlations: Mapping[str, float]
    """Spearman's, of linear and finite size over the directions of a kind."""
    flips: Mapping[str, float]
    """Share of directions whose change has a negative cosine with what the gradient predicts."""
    n_behaviours: int
    """Of the vectors found at this length: (prompt, next token) pairs that differ from unedited."""
    missed: Mapping[str, float]
    """Share of these that vectors of another kind, of this length and of either sign, do not bring
    out; "other seed" are as many again found at this length, the control."""


def compare(
    subject: Subject,
    prompts: Sequence[TokenRow],
    source: int,
    target: int,
    radius: float,
    *,
    n_vectors: int = 16,
    n_steps: int = 25,
    seed: int = 0,
) -> Comparison:
    """Compare responses at zero and at a finite length.

    Args:
        subject: The model.
        prompts: One batch of them.
        source: Vectors are added to all tokens of what enters this block.
        target: The change is read at the last tokens of what enters this block.
        radius: The finite length, in units of the stream.
        n_vectors: Of each kind.
        n_steps: Of MELBO.
        seed: Of starting points and random directions.
    """
    response = Response(subject, prompts, source, target)
    n_vectors = min(n_vectors, response.d_model)
    random = random_units(n_vectors, response.d_model, seed + 100, response.device)
    vectors: dict[str, Vectors] = {
        "finite": Melbo(n_vectors, n_steps, seed=seed)(response, radius),
        "gradient": Dct("linear", n_vectors, n_projections=0, seed=seed)(response, radius),
        "random": radius * random,
    }
    effects = {kind: _effects(response, found) for kind, found in vectors.items()}
    other = Melbo(n_vectors, n_steps, seed=seed + 1)(response, radius)
    final = Response(subject, prompts, source, subject.n_layers, n_read=1)
    found = behaviours(subject, final, vectors["finite"])
    rivals = {
        "gradient": torch.cat([vectors["gradient"], -vectors["gradient"]]),
        "random": torch.cat([vectors["random"], -vectors["random"]]),
        "other seed": other,
    }
    return Comparison(
        radius=radius,
        effects=effects,
        correlations={kind: _correlation(some) for kind, some in effects.items()},
        flips={
            kind: float(np.mean([one.cosine < 0 for one in some])) for kind, some in effects.items()
        },
        n_behaviours=len(found),
        missed={
            kind: len(found - behaviours(subject, final, some)) / max(len(found), 1)
            for kind, some in rivals.items()
        },
    )


@torch.no_grad()
def behaviours(subject: Subject, response: Response, vectors: Vectors) -> set[Behaviour]:
    """The next tokens that some vector brings out and the unedited model does not.

    Args:
        subject: The model.
        response: Reads what leaves the last block at the last token.
        vectors: Of their final length.
    """
    before = subject.decoder.logits(response.unedited[:, -1]).argmax(-1)
    found: set[Behaviour] = set()
    for some in vectors.split(response.at_once):
        after = response.unedited[:, -1] + response(some)[:, :, -1]
        tokens = subject.decoder.logits(after.to(response.unedited)).argmax(-1)
        changed = tokens != before
        where = changed.nonzero()[:, 1].tolist()
        found.update(zip(where, tokens[changed].tolist(), strict=True))
    return found


def _effects(response: Response, vectors: Vectors) -> tuple[Effect, ...]:
    linear, finite = response.linear_mean(vectors), response.mean_of(vectors)
    cosines = torch.nn.functional.cosine_similarity(linear, finite, dim=-1)
    columns: tuple[Float[Tensor, " vectors"], ...] = (
        linear.norm(dim=-1),
        finite.norm(dim=-1),
        cosines,
    )
    return tuple(Effect(*map(float, line)) for line in zip(*columns, strict=True))


def _correlation(effects: Sequence[Effect]) -> float:
    found: Any = spearmanr([one.linear for one in effects], [one.finite for one in effects])
    return float(found.statistic)
