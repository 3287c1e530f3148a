"""A model that accelerate has spread, here over one device with its hooks forced."""

import pytest
import torch
from tiny import build, subject, tokenizer

from unmask.edits import AddVector, ResidualNoise, Site, WeightNoise
from unmask.models import Row
from unmask.models.subject import Subject

ROWS = [Row("Which letter?", ("A", "B"), key=1), Row("A", ("A", "no"), key=2)]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_dispatched_model_scores_and_generates_as_before(family):
    accelerate = pytest.importorskip("accelerate")
    plain = subject(family)
    parts = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"]
    parts += [f"model.layers.{layer}" for layer in range(plain.n_layers)]
    model = accelerate.dispatch_model(
        build(family), dict.fromkeys(parts, "cpu"), main_device="cpu", force_hooks=True
    )
    assert all(hasattr(block, "_hf_hook") for block in model.model.layers)
    spread = Subject(model, tokenizer())
    assert spread.decoder.exact
    edits = [
        AddVector(Site(1), torch.linspace(-2, 2, 32)),
        ResidualNoise(Site(1, "attn_out"), 0.5, seed=1),
        WeightNoise(0.2, seed=1),
    ]
    assert spread.choices_under(ROWS, edits) == plain.choices_under(ROWS, edits)
    assert spread.generate(ROWS, edits[0]) == plain.generate(ROWS, edits[0])
    assert spread.provenance["weights_hash"] == plain.provenance["weights_hash"]
