"""TransformerLens: one batch of rows, with a hook where a block begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM
from worker import Work, log_probs, serve


def load(folder: Path) -> Callable[[Work], Tensor]:
    """Wrap the model, without any processing of its weights."""
    hf = AutoModelForCausalLM.from_pretrained(folder)
    model = TransformerBridge.boot_transformers(
        str(folder), hf_model=hf, device="cpu", tokenizer=None
    )

    def run(work: Work) -> Tensor:
        rows = work.input_ids[None].expand(len(work.vectors), -1)
        columns = slice(None) if work.positions == "all" else slice(-1, None)

        def add(resid: Tensor, hook: Any) -> Tensor:
            resid = resid.clone()
            resid[:, columns] += work.vectors[:, None]
            return resid

        logits = model.run_with_hooks(
            rows, return_type="logits", fwd_hooks=[(f"blocks.{work.block}.hook_in", add)]
        )
        return log_probs(logits[:, -1], work.options)

    return run


if __name__ == "__main__":
    serve("transformer-lens", load)
