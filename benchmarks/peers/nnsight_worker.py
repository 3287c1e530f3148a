"""nnsight: one trace over a batch of rows, with a vector for each row added in place."""

from collections.abc import Callable
from pathlib import Path

from nnsight import NNsight
from torch import Tensor
from transformers import AutoModelForCausalLM
from worker import Work, log_probs, serve


def load(folder: Path) -> Callable[[Work], Tensor]:
    """Wrap the model; invokes, and a trace for each vector, take longer than manual rows."""
    model = NNsight(AutoModelForCausalLM.from_pretrained(folder))

    def run(work: Work) -> Tensor:
        rows = work.input_ids[None].expand(len(work.vectors), -1)
        columns = slice(None) if work.positions == "all" else slice(-1, None)
        vectors = work.vectors[:, None]
        with model.trace(rows, use_cache=False, logits_to_keep=1):
            model.model.layers[work.block - 1].output[:, columns] += vectors
            logits = model.lm_head.output.save()
        return log_probs(logits[:, -1], work.options)

    return run


if __name__ == "__main__":
    serve("nnsight", load)
