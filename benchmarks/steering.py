"""A search for steering vectors without supervision: segments against full forward passes.

The search is MELBO (Mack & Turner 2024): a vector of fixed length, added to what the source block's
MLP writes, that changes the stream at the target block most. The published code runs the whole
model and its unembedding once for each vector and step; so does the peer here.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.compare import Row, compare
from benchmarks.flops import Count, count, necessary_search
from benchmarks.model import directions, llama, prompt
from unmask.models.batch import TokenRow, lay_out
from unmask.models.check import checked
from unmask.models.forward import Decoder
from unmask.models.segments import Segment

N_LAYERS, D_VOCAB, N_TOKENS = 24, 32_000, 27
SOURCE, TARGET, N_VECTORS, N_STEPS, RADIUS = 7, 16, 16, 5, 4.0

Vectors = Float[Tensor, "vectors d_model"]


def run(rounds: int) -> tuple[list[Row], list[Count]]:
    """Find 16 vectors both ways."""
    model = llama(N_LAYERS, d_vocab=D_VOCAB)
    decoder = checked(Decoder(model))
    ids = prompt(N_TOKENS, D_VOCAB)
    start = torch.nn.functional.normalize(directions(N_VECTORS), dim=-1) * RADIUS

    def ours() -> Vectors:
        batch = lay_out([TokenRow(ids)], (0,), 0, decoder.device)
        segment = Segment(decoder, batch, SOURCE + 1, TARGET)

        def changes(vectors: Vectors) -> Tensor:
            return segment(segment.entering + vectors[:, None, None])[:, 0] - segment.leaving[0]

        return _search(start, changes)

    def published() -> Vectors:
        return search_published(model, ids, start)

    cosines = torch.nn.functional.cosine_similarity(ours(), published(), dim=-1)
    assert cosines.min() > 0.9999, f"not the same vectors: {cosines.min()}"
    moved = torch.nn.functional.cosine_similarity(ours(), start, dim=-1)
    assert moved.max() < 0.9999, "the search did not move"
    name = (
        f"steering search, {N_LAYERS} blocks, {SOURCE} to {TARGET}, {N_VECTORS} vectors, "
        f"{N_STEPS} steps"
    )
    rows = compare(name, ours, {"full forwards, one vector at a time": (published, 6.0)}, rounds)
    necessary = necessary_search(model, N_TOKENS, N_VECTORS, N_STEPS, SOURCE + 1, TARGET)
    return rows, [count(name, ours, necessary, published)]


def search_published(model: PreTrainedModel, ids: tuple[int, ...], start: Vectors) -> Vectors:
    """Search as published: the whole model once for each vector and step."""
    with torch.no_grad():
        before = _target(model, ids)

    def one(vector: Vectors) -> Tensor:
        return (_target(model, ids, vector[0]) - before)[None]

    return torch.cat([_search(vector[None], one) for vector in start])


def _search(start: Vectors, changes: Callable[[Vectors], Tensor]) -> Vectors:
    """Maximise the length of the change, on the sphere; vectors do not know of each other."""
    vectors = start.clone().requires_grad_()
    optimiser = torch.optim.AdamW(
        [vectors], lr=0.001, betas=(0.9, 0.98), weight_decay=0.0, amsgrad=True
    )
    for _ in range(N_STEPS):
        optimiser.zero_grad()
        loss = -changes(vectors).flatten(1).norm(dim=1).sum()
        (vectors.grad,) = torch.autograd.grad(loss, vectors)
        with torch.no_grad():
            along = (vectors.grad * vectors).sum(-1, keepdim=True) / RADIUS**2
            vectors.grad -= along * vectors
            optimiser.step()
            vectors.mul_(RADIUS / vectors.norm(dim=-1, keepdim=True))
    return vectors.detach()


def _target(
    model: PreTrainedModel, ids: tuple[int, ...], vector: Tensor | None = None
) -> Float[Tensor, "pos d_model"]:
    """Run the whole model; returns what enters the target block."""
    down: Any = model.get_submodule(f"model.layers.{SOURCE}.mlp.down_proj")
    hooks = []
    if vector is not None:
        hooks.append(down.register_forward_hook(lambda _, __, out: out + vector))
    tracked = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in tracked:
        weight.requires_grad_(False)
    try:
        out = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
        for weight in tracked:
            weight.requires_grad_(True)
    return out.hidden_states[TARGET][0]
