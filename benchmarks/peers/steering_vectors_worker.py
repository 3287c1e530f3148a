"""steering-vectors: a vector at one layer behind a mask of tokens, one vector at a time."""

from collections.abc import Callable
from pathlib import Path

import torch
from steering_vectors import SteeringVector
from torch import Tensor
from transformers import AutoModelForCausalLM
from worker import Work, log_probs, serve


def load(folder: Path) -> Callable[[Work], Tensor]:
    """Load the model, which the library hooks."""
    model = AutoModelForCausalLM.from_pretrained(folder)

    def run(work: Work) -> Tensor:
        row = work.input_ids[None]
        mask = torch.full_like(row, work.positions == "all")
        mask[:, -1] = 1
        found = []
        for vector in work.vectors:
            steering = SteeringVector({work.block - 1: vector}, "decoder_block")
            with steering.apply(model, min_token_index=None, token_indices=mask):
                logits = model(row, use_cache=False, logits_to_keep=1).logits
            found.append(log_probs(logits[:, -1], work.options))
        return torch.cat(found)

    return run


if __name__ == "__main__":
    serve("steering-vectors", load)
