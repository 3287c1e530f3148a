"""Generation under edits: the engine against `generate` of transformers, with hooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.compare import Row, compare
from benchmarks.flops import Count, count, necessary_generation
from benchmarks.model import directions, prompt
from unmask.edits import AddVector, Site
from unmask.models.batch import TokenRow
from unmask.models.engine import Engine
from unmask.models.sampling import Stopping, generate

N_TOKENS, N_EDITS, N_NEW, BLOCK = 200, 16, 12, 6


def run(engine: Engine, model: PreTrainedModel, rounds: int) -> tuple[list[Row], list[Count]]:
    """Continue one prompt under K vectors that are added at every generated token."""
    ids, vectors = prompt(N_TOKENS), directions(N_EDITS)
    edits = [AddVector(Site(BLOCK, "resid_pre", "answer"), vector) for vector in vectors]

    def ours() -> list[list[int]]:
        found = generate(engine, [TokenRow(ids)], edits, Stopping(N_NEW))
        return [one[0] for one in found]

    def batched() -> list[list[int]]:
        return _generate(model, ids, vectors)

    def looped() -> list[list[int]]:
        return [_generate(model, ids, vector[None])[0] for vector in vectors]

    expected = batched()
    assert ours() == expected == looped(), "not the same texts"
    assert len({tuple(tokens) for tokens in expected}) > N_EDITS // 2, "the edits do nothing"
    name = f"generation, block {BLOCK}, T={N_TOKENS}, K={N_EDITS}, {N_NEW} new tokens"
    necessary = necessary_generation(model, N_TOKENS, N_EDITS, N_NEW, BLOCK)
    rows = compare(
        name,
        ours,
        {
            "a loop of generate, with hooks": (looped, 5.0),
            "one batched generate, with hooks": (batched, 2.3),
        },
        rounds,
    )
    return rows, [count(name, ours, necessary, batched)]


def _generate(
    model: Any, ids: tuple[int, ...], vectors: Float[Tensor, "batch d_model"]
) -> list[list[int]]:
    rows = torch.tensor([ids]).expand(len(vectors), -1)
    with _adding_to_new_tokens(model, vectors):
        texts = model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            do_sample=False,
            max_new_tokens=N_NEW,
            eos_token_id=None,
            pad_token_id=0,
        )
    return texts[:, len(ids) :].tolist()


@contextmanager
def _adding_to_new_tokens(model: Any, vectors: Float[Tensor, "batch d_model"]) -> Iterator[None]:
    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0]
        if hidden.shape[1] > 1:  # the prompt
            return args, kwargs
        return (hidden + vectors[:, None], *args[1:]), kwargs

    handle = model.model.layers[BLOCK].register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
