"""Descriptions of directions, against the model run by itself."""

import numpy as np
import pytest
import torch
from tiny import subject

from unmask.models import Row
from unmask.models.batch import TokenRow
from unmask.steering import Response, random_units
from unmask.steering.describe import describe, most_different, similarities, sizes_by_block

TEXTS = ["Which letter is it?", "A and B and C"]


@pytest.fixture(scope="module")
def model():
    return subject("llama")


@pytest.fixture(scope="module")
def rows(model):
    return [TokenRow(model.encode(text), key=number) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def vectors(model):
    return 4 * random_units(6, model.d_model, 0, torch.device("cpu"))


def test_the_most_different_directions_leave_out_copies(model, rows, vectors):
    response = Response(model, rows, 1, 2)
    copies = torch.cat([vectors[:1], vectors[:1] * 1.001, vectors[1:3], vectors[1:2] * 0.999])
    chosen = most_different(response, copies, 3)
    assert len(set(chosen)) == 3
    assert len({0, 1} & set(chosen)) == 1 and len({2, 4} & set(chosen)) == 1 and 3 in chosen
    assert sorted(most_different(response, copies, 9)) == [0, 1, 2, 3, 4]


def test_similarities_are_cosines_of_the_mean_changes(model, rows, vectors):
    response = Response(model, rows, 1, 2)
    found = similarities(response, torch.cat([vectors, vectors[:1]]))
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)
    assert found[0, -1] == pytest.approx(1, abs=1e-5) and found[0, 1] < 0.99
    changes = response.mean_of(vectors[:2])
    expected = torch.nn.functional.cosine_similarity(changes[0], changes[1], dim=0)
    assert found[0, 1] == pytest.approx(float(expected), abs=1e-5)


def test_sizes_by_block_are_those_of_hooked_passes(model, rows, vectors):
    found = sizes_by_block(model, rows[:1], 1, vectors[:1])
    ids = torch.tensor([rows[0].prompt])

    def add(_, args, kwargs):
        return (args[0] + vectors[0], *args[1:]), kwargs

    def states():
        with torch.no_grad():
            out = model.model(ids, output_hidden_states=True).hidden_states
        return out[2][0]  # what enters block 2

    plain = states()
    handle = model.decoder.blocks[1].register_forward_pre_hook(add, with_kwargs=True)
    try:
        change = states() - plain
    finally:
        handle.remove()
    size = change.square().sum(-1).mean().sqrt() / plain.norm(dim=-1).median()
    assert found.shape == (1, model.n_layers - 1)
    assert found[0, 0] == pytest.approx(float(size), rel=1e-4)


def test_a_description_shows_tokens_texts_and_strangeness(model, rows, vectors):
    response = Response(model, rows, 1, 2)
    row = Row(TEXTS[0])
    described = describe(
        model,
        rows,
        response,
        vectors[:2],
        percentile=lambda acts: torch.full(acts.shape[:-1], 0.75),
        rows=[row],
        max_new_tokens=4,
    )
    assert [one.index for one in described] == [0, 1]
    one = described[0]
    assert one.length == pytest.approx(4, rel=1e-5) and one.percentile == 0.75
    logits = model.model.lm_head(model.model.model.norm(vectors[:1]))[0]
    best = model.tokenizer.decode([int(logits.argmax())])
    assert one.top_tokens[0] == best and len(one.top_tokens) == 8
    ((before, after),) = one.texts
    (plain,) = model.generate([row], max_new_tokens=4, stop=())
    assert before == plain and after != before
    assert one.change == pytest.approx(1, abs=0.8)  # random vectors change as much as random ones
