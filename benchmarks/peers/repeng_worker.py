"""repeng: a control vector at one layer, all positions, one vector at a time."""

from collections.abc import Callable
from pathlib import Path

import torch
from repeng import ControlModel
from torch import Tensor
from transformers import AutoModelForCausalLM
from worker import Unsupported, Work, log_probs, serve


def load(folder: Path) -> Callable[[Work], Tensor]:
    """Load the model; it is wrapped for one layer at a time."""
    hf = AutoModelForCausalLM.from_pretrained(folder)
    wrapped: list[tuple[int, ControlModel]] = []

    def at(block: int) -> ControlModel:
        if not wrapped or wrapped[0][0] != block:
            if wrapped:
                wrapped.pop()[1].unwrap()
            # The layer's output is changed, so that of the block before.
            wrapped.append((block, ControlModel(hf, [block - 1])))
        return wrapped[0][1]

    def run(work: Work) -> Tensor:
        if work.positions != "all":
            raise Unsupported("a control vector acts at every position")
        model, found = at(work.block), []
        for vector in work.vectors:
            model.set_raw_control({work.block - 1: vector})
            logits = model(work.input_ids[None], use_cache=False, logits_to_keep=1).logits
            found.append(log_probs(logits[:, -1], work.options))
        return torch.cat(found)

    return run


if __name__ == "__main__":
    serve("repeng", load)
