"""The smallest perturbation that brings a target out, against the model's own forward pass."""

import numpy as np
import pytest
import torch
from tiny import subject

from unmask.arms.worst_case import WorstCase, _Search
from unmask.models.batch import TokenRow
from unmask.tasks import Item, Task

D_VOCAB = 200
PROMPT = "Which letter?"


def search(s, target):
    row = TokenRow(s.encode(PROMPT), (target[:-1],))
    return _Search(s, row, target)


def greedy(s, n):
    """What the model writes, by its own forward passes."""
    ids = list(s.encode(PROMPT))
    for _ in range(n):
        with torch.no_grad():
            ids.append(int(s.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[-n:])


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return subject(request.param)


def test_what_the_model_writes_anyway_needs_no_perturbation(model):
    for n in (1, 3):
        found = search(model, greedy(model, n))
        assert found.writes(found.start(1)).all()


def test_the_perturbation_found_works_in_the_model_s_own_forward_pass(model):
    target = tuple((token + 7) % D_VOCAB for token in greedy(model, 2))
    found = search(model, target)
    assert not found.writes(found.start(1)).any()
    radii = torch.tensor(WorstCase.radii)
    written, change = found.run(radii)
    assert written.any() and not written.all(), "the radii should straddle the border"
    first = int(written.int().argmax())
    lengths = change[first].norm(dim=-1) / found.norms[:, 0]
    assert lengths.max() <= radii[first] * 1.0001
    # Independently: hook the block and run the whole model over prompt and target.
    block = model.decoder.blocks[found.source]
    ids = torch.tensor([[*model.encode(PROMPT), *target]])

    def add(_, args, kwargs):
        hidden = args[0].clone()
        hidden[0, : change.shape[1]] += change[first]
        return (hidden, *args[1:]), kwargs

    handle = block.register_forward_pre_hook(add, with_kwargs=True)
    try:
        logits = model.model(ids).logits[0, change.shape[1] - 1 : -1]
    finally:
        handle.remove()
    assert tuple(logits.argmax(-1).tolist()) == target


def test_a_greater_radius_does_what_a_smaller_one_did(model):
    target = tuple((token + 7) % D_VOCAB for token in greedy(model, 1))
    written, _ = search(model, target).run(torch.tensor([1e-6, 0.5, 1.0, 2.0]))
    assert not written[0] and written[-1]
    assert (written.int().diff() >= 0).all()


def test_radii_are_measured_for_items_in_every_format(model):
    item = Item("Is it odd?", "odd", ("odd", "even"))
    for form in ("letter", "listed", "open", "text"):
        task = Task("t", (item,), form, measures="behaviour")
        (radius,) = WorstCase().measure(model, task, [item])
        assert radius in (0.0, *WorstCase.radii, WorstCase().most)


def test_it_is_for_behaviours(model):
    item = Item("Is it odd?", "odd", ("odd", "even"))
    tasks = {m: Task("t", (item,), "letter", measures=m) for m in ("behaviour", "capability")}
    assert WorstCase().not_applicable(model, tasks["behaviour"]) == ""
    assert "the task measures a capability" in WorstCase().not_applicable(
        model, tasks["capability"]
    )


def test_weights_get_no_gradients(model):
    item = Item("Is it odd?", "odd", ("odd", "even"))
    task = Task("t", (item,), "letter", measures="behaviour")
    one, two = (WorstCase().measure(model, task, [item]) for _ in range(2))
    assert np.array_equal(one, two)
    assert all(weight.grad is None for weight in model.model.parameters())
