"""What a pass costs through the engine that needs nothing of it."""

import torch
from transformers import PreTrainedModel

from benchmarks.compare import Row, row, timed
from benchmarks.model import OPTIONS, prompt
from unmask.edits import NO_EDIT
from unmask.models.batch import TokenRow
from unmask.models.engine import Engine
from unmask.models.scoring import Reading, Wanted, score


def run(engine: Engine, model: PreTrainedModel, rounds: int) -> list[Row]:
    """Score one unedited prompt, and run the bare model on it."""
    rows = []
    for n_tokens in (256, 1024):
        ids = prompt(n_tokens)
        reading = Reading(TokenRow(ids), (Wanted(0, OPTIONS, tuple(range(4))),))
        given = torch.tensor([ids], device=model.device)

        def ours(reading: Reading = reading) -> None:
            score(engine, [reading], [NO_EDIT])

        @torch.no_grad()
        def bare(given: torch.Tensor = given) -> None:
            model(given, use_cache=False, logits_to_keep=1)

        pairs = [(timed(ours), timed(bare)) for _ in range(3 * rounds + 1)][1:]
        rows.append(
            row(
                f"one unedited pass, T={n_tokens}: ours over the bare model's",
                "the bare model",
                [mine / theirs for mine, theirs in pairs],
                [mine for mine, _ in pairs],
                target=1.03,
                at_most=True,
            )
        )
    return rows
