"""A real model's strongest paths, and its head nearest to an induction head, drawn and computed."""

from pathlib import Path
from typing import Any

import torch

from unmask.models.diagrams import (
    freeze,
    head,
    induction_scores,
    path_expansion,
    unembed_singular,
    whole,
)
from unmask.models.loading import load_subject
from wirework import lay_out, to_svg

ROOT = Path(__file__).parents[2]
MODEL = ROOT.parent / "shared" / "models" / "tinystories-instruct-3m-chat"
DOCS = ROOT / "docs" / "figures"
TEXT = "Once upon a time there was a little girl named Lily. She had a red ball."


def run() -> dict[str, Any]:
    """Compute the figures of the page, and write its pictures."""
    subject = load_subject(str(MODEL))
    frozen = freeze(subject, TEXT)
    with torch.no_grad():
        ids = torch.tensor([subject.encode(TEXT)])
        logits = subject.model(ids).logits[0]
        value = whole(subject, frozen).value()
    found = path_expansion(subject, top=10, frozen=frozen)
    scores = induction_scores(subject, torch.Generator().manual_seed(0), n_rows=64)
    layer, which, score = scores.strongest
    strongest = next(term.heads[0] for term in found.terms if term.heads)
    near = head(subject, layer, which)
    total = found.terms[0].bound + found.terms[1].bound + found.terms[2].bound
    DOCS.mkdir(parents=True, exist_ok=True)
    for name, expression in {
        "tinystories-paths": total.expression,
        "tinystories-head-qk": near.qk_circuit.expression,
        "tinystories-head-ov": near.ov_circuit.expression,
    }.items():
        (DOCS / f"{name}.svg").write_text(to_svg(lay_out(expression)), encoding="utf-8")
    previous = scores.previous_token.flatten().argmax().item()
    n_heads = scores.previous_token.shape[1]
    return {
        "model": MODEL.name,
        "error": float((value - logits).abs().max()),
        "largest_logit": float(logits.abs().max()),
        "n_terms": found.n_terms,
        "terms": [[list(term.heads), term.norm, term.share] for term in found.terms],
        "induction": {
            "head": [layer, which],
            "prefix_matching": score,
            "chance": scores.chance,
            "gain_nats": float(scores.gain_nats),
            "previous_token": [*divmod(int(previous), n_heads), float(scores.previous_token.max())],
        },
        "directions": {
            "head": list(strongest),
            "found": [
                {"value": one.value, "reads": one.reads, "writes": one.writes}
                for one in unembed_singular(subject, strongest, k=3, n_tokens=6)
            ],
        },
    }
