"""Does staying on the manifold help? Bounds compared at the same damage.

For each bound the length is found at which vectors cost the same on neutral text; then their texts,
the tokens they change and, on organisms, their gain are compared. On organisms vectors are added to
the last token of the prompt, on the real model to all tokens.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latent.searches import Case, _audit
from unmask.arms.latent_directions import density_of
from unmask.edits import NO_EDIT, Edit, Positions
from unmask.manifold import OnManifold
from unmask.models.loading import load_subject
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.organisms import pool
from unmask.runs.prompts import prompts_of, token_rows
from unmask.runs.search import blocks
from unmask.steering import Bound, Melbo, Response, Within, random_units, typical_norm
from unmask.steering.compare import behaviours
from unmask.tasks import load_task
from unmask.tasks.damage import damages

DAMAGE: dict[Positions, float] = {"last": 0.02, "all": 0.5}
"""Nats per token. At the last token only the start of a passage's second half is changed."""
N_VECTORS, N_TEXTS, N_NEW = 16, 4, 32
REAL = Path("../shared/models/tinystories-instruct-3m-chat")


@dataclass(frozen=True)
class Compared:
    """One bound on one model."""

    model: str
    search: str
    within: str
    positions: str
    radius: float
    """In norms of the stream."""
    damage_nats: float
    changing: float
    """Share of vectors that change the next token of at least a tenth of the prompts."""
    nats_per_token: float
    """Of the steered texts, under the unedited model."""
    nats_unedited: float
    """Of its own texts."""
    gain: float | None
    """On an organism's task."""
    p: float | None


def run() -> list[dict[str, Any]]:
    """Compare bounds, and random vectors as a control, on organisms and on a real model."""
    found = []
    for name in ("evaluation-tag", "secret-denied", "trigger"):
        (member,) = (one for one in pool.members() if one.name == name)
        model, tokenizer = pool.load_member(member)
        subject, task = Subject(model, tokenizer, name=name), load_task(member.task)
        found += _model(subject, prompts_of(subject, task, n=32), task, "last")
    if REAL.exists():
        subject = load_subject(REAL)
        found += _model(subject, prompts_of(subject), None, "all")
    else:
        print(f"skipped, not there: {REAL}")
    return [asdict(one) for one in found]


def _model(subject: Subject, rows: list[Row], task: Any, positions: Positions) -> list[Compared]:
    source, target = blocks(subject, None, None)
    prompts = token_rows(subject, rows)
    density = density_of(subject, prompts, source)
    found = []
    for search in ("MELBO", "random"):
        for within in ("l2", "whitened", "density"):
            place = (subject, prompts[:16], source, target, positions)
            share = _share_at_damage(place, Bound(within, density), search)
            found.append(_compare(place, rows, Bound(within, density), search, share, task))
            print(found[-1], flush=True)
    return found


def _vectors(place: Any, bound: Bound, search: str, share: float) -> tuple[list[Edit], Any]:
    subject, prompts, source, target, positions = place
    response = bound.response(subject, prompts, source, target, positions=positions)
    radius = bound.radius(share * typical_norm(response))
    if search == "MELBO":
        vectors = Melbo(N_VECTORS, 15)(response, radius)
    else:
        units = random_units(N_VECTORS, response.d_model, 7, response.device)
        vectors = response.added(radius * units)
    edits: list[Edit] = [bound.edit(source, vector, positions) for vector in vectors]
    return edits, vectors


def _share_at_damage(place: Any, bound: Bound, search: str) -> float:
    """Halve towards the length with the damage wanted; the largest where none has so much."""
    low, high = 0.01, 4.0
    for _ in range(8):
        middle = (low * high) ** 0.5
        edits, _ = _vectors(place, bound, search, middle)
        if np.mean(damages(place[0], edits)) < DAMAGE[place[-1]]:
            low = middle
        else:
            high = middle
    return low


def _compare(
    place: Any, rows: list[Row], bound: Bound, search: str, share: float, task: Any
) -> Compared:
    subject, prompts, source, _, positions = place
    edits, vectors = _vectors(place, bound, search, share)
    kept = OnManifold(bound.density) if bound.within == "density" else None
    options: Any = {"positions": positions, "n_read": 1, "constraint": kept}
    final = Response(subject, prompts, source, subject.n_layers, **options)
    changed = [len(behaviours(subject, final, one[None])) for one in vectors]
    nats, own = _coherence(subject, rows[:N_TEXTS], edits)
    gain = p = None
    if task is not None:
        within: Within = bound.within
        audited = _audit(subject, task, Case(search, within, positions, share))
        gain, p = audited.gain, audited.p
    return Compared(
        model=Path(subject.name).name,
        search=search,
        within=bound.within,
        positions=positions,
        radius=share,
        damage_nats=float(np.mean(damages(subject, edits))),
        changing=float(np.mean([n >= len(prompts) / 10 for n in changed])),
        nats_per_token=nats,
        nats_unedited=own,
        gain=gain,
        p=p,
    )


def _coherence(subject: Subject, rows: list[Row], edits: list[Edit]) -> tuple[float, float]:
    """Nats per token that the unedited model needs for steered texts, and for its own."""
    texts = subject.generate_under(rows, [NO_EDIT, *edits], max_new_tokens=N_NEW, stop=())
    needed = [_nats(subject, rows, some) for some in texts]
    return float(np.nanmean(needed[1:])), float(needed[0])


def _nats(subject: Subject, rows: list[Row], texts: list[str]) -> float:
    total, n_tokens = 0.0, 0
    for row, text in zip(rows, texts, strict=True):
        if not text.strip():
            continue
        asked = Row(row.text, (text,), row.key, templated=row.templated)
        ((scores,),) = subject.choices_under([asked], [NO_EDIT])
        total -= scores.log_probs[0]
        n_tokens += len(subject.continuation(row.text, text, templated=row.templated))
    return total / n_tokens if n_tokens else float("nan")
