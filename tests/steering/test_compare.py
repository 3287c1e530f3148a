"""The comparison of gradients with finite lengths, where the answer is known."""

import pytest
import torch
from tiny import subject

from unmask.models.batch import TokenRow
from unmask.steering import Response, compare, random_units
from unmask.steering.compare import behaviours

TEXTS = ["Which letter is it?", "A and B and C", "Say the rest: one two"]


@pytest.fixture(scope="module")
def model():
    return subject("llama")


@pytest.fixture(scope="module")
def rows(model):
    return [TokenRow(model.encode(text), key=number) for number, text in enumerate(TEXTS)]


def test_at_short_lengths_the_gradient_is_right(model, rows):
    norm = float(Response(model, rows, 1, 2).entering.norm(dim=-1).median())
    short = compare(model, rows, 1, 3, 1e-3 * norm, n_vectors=4, n_steps=3)
    for kind, effects in short.effects.items():
        assert short.flips[kind] == 0 and len(effects) == 4
        for one in effects:
            assert one.cosine > 0.999 and one.finite == pytest.approx(one.linear, rel=0.02)
    assert short.correlations["random"] > 0.9 and short.n_behaviours == 0
    # Control: far out it is wrong about size and direction.
    long = compare(model, rows, 1, 3, 50 * norm, n_vectors=4, n_steps=3)
    assert min(one.cosine for one in long.effects["random"]) < 0.9
    assert min(abs(one.finite / one.linear - 1) for one in long.effects["random"]) > 0.05
    assert long.n_behaviours > 0


def test_the_leading_gradient_direction_is_the_best_at_short_lengths(model, rows):
    norm = float(Response(model, rows, 1, 2).entering.norm(dim=-1).median())
    short = compare(model, rows, 1, 3, 1e-3 * norm, n_vectors=4, n_steps=3)
    best = max(one.linear for one in short.effects["gradient"])
    assert best > max(one.linear for one in short.effects["random"])


def test_behaviours_are_next_tokens_of_the_hooked_model(model, rows):
    final = Response(model, rows, 1, model.n_layers, n_read=1)
    vectors = 6 * random_units(5, model.d_model, 3, final.device)
    expected = set()
    for number, row in enumerate(rows):
        ids = torch.tensor([row.prompt])
        before = _next(model, ids, None)
        for vector in vectors:
            after = _next(model, ids, vector)
            expected |= {(number, after)} if after != before else set()
    assert expected and behaviours(model, final, vectors) == expected


def _next(model, ids, vector):
    def add(_, args, kwargs):
        return (args[0] + vector, *args[1:]), kwargs

    block = model.decoder.blocks[1]
    handle = block.register_forward_pre_hook(add, with_kwargs=True) if vector is not None else None
    try:
        with torch.no_grad():
            return int(model.model(ids).logits[0, -1].argmax())
    finally:
        if handle is not None:
            handle.remove()
