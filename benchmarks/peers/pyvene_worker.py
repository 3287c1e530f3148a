"""pyvene: one batch of rows, with a vector for each row as the source of an addition."""

from collections.abc import Callable
from pathlib import Path

import pyvene
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from worker import Work, log_probs, serve


def load(folder: Path) -> Callable[[Work], Tensor]:
    """Load the model; an intervenable model is made for each block."""
    hf = AutoModelForCausalLM.from_pretrained(folder)
    made: dict[int, pyvene.IntervenableModel] = {}

    def run(work: Work) -> Tensor:
        if work.block not in made:
            representation = pyvene.RepresentationConfig(
                work.block, "block_input", "pos", 1, intervention_type=pyvene.AdditionIntervention
            )
            config = pyvene.IntervenableConfig([representation])
            made[work.block] = pyvene.IntervenableModel(config, hf)
        rows = work.input_ids[None].expand(len(work.vectors), -1)
        n = rows.shape[1]
        positions = list(range(n)) if work.positions == "all" else [n - 1]
        where = [[positions] * len(rows)]
        source = work.vectors[:, None].expand(-1, len(positions), -1)
        _, edited = made[work.block](
            {"input_ids": rows},
            unit_locations={"sources->base": (None, where)},
            source_representations={next(iter(made[work.block].interventions)): source},
        )
        return log_probs(edited.logits[:, -1], work.options)

    torch.set_grad_enabled(False)
    return run


if __name__ == "__main__":
    serve("pyvene", load)
