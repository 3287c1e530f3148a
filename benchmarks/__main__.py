"""`make bench`: run every benchmark and write its results.

Each row compares ours with a peer in turn, round by round, so that a ratio holds on a machine
whose speed drifts. A ratio above 1 means that ours is faster; for the overhead of a pass, that it
costs more.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unmask.edits import ResidualNoise, Site
from unmask.models.batch import TokenRow, pad_left
from unmask.models.forward import Decoder

RESULTS = Path(__file__).parent / "results" / "spine.json"
ROUNDS = 7
N_EDITS = 8


def main() -> None:
    decoder = Decoder(_model())
    row = TokenRow(tuple(range(5, 5 + 256)), key=1)
    batch = pad_left([row], (0,), 0, decoder.device)
    rows = []
    for layer in (2, 6, 10):
        edits = [ResidualNoise(Site(layer, "resid_pre"), 0.1, seed) for seed in range(N_EDITS)]
        rows.append(
            _row(
                f"{N_EDITS} noise edits before block {layer} of 12, all positions, T=256",
                "a full forward with hooks for each edit",
                lambda edits=edits: [decoder.full(batch, edit) for edit in edits],
                lambda edits=edits: _resumed(decoder, batch, edits),
            )
        )
    rows.append(
        _row(
            "one unedited pass, recorded, T=256 (time over the bare model's)",
            "the bare model's forward without unembedding",
            lambda: decoder.clean(batch),
            lambda: _bare(decoder, batch),
        )
    )
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    for row_ in rows:
        print(
            f"{row_['workload']:<64} {row_['ratio_median']:.2f} "
            f"[{row_['ratio_min']:.2f}, {row_['ratio_max']:.2f}] over {row_['peer']}"
        )
    print(f"written to {RESULTS.relative_to(Path.cwd())}")


def _resumed(decoder: Decoder, batch: object, edits: list[ResidualNoise]) -> None:
    clean = decoder.clean(batch)  # type: ignore[arg-type]
    for edit in edits:
        decoder.run(clean, edit)


@torch.no_grad()
def _bare(decoder: Decoder, batch) -> None:
    decoder.model.base_model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    )


def _row(
    workload: str, peer: str, theirs: Callable[[], object], ours: Callable[[], object]
) -> dict[str, object]:
    ratios = []
    for round_ in range(ROUNDS + 1):
        seconds = []
        for call in (theirs, ours):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        if round_:  # the first round warms up
            ratios.append(seconds[0] / seconds[1])
    return {
        "workload": workload,
        "peer": peer,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def _model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


if __name__ == "__main__":
    main()
