from dataclasses import replace

import pytest
import torch

from unmask.errors import SettingError
from unmask.organisms import recipes
from unmask.organisms.adapting import AdapterRecipe
from unmask.organisms.pool import load_member, members
from unmask.organisms.registry import BASES, DECOYS, PAIRS, IdentityRecipe
from unmask.organisms.training import BaseRecipe, new_base, train_base
from unmask.organisms.world import World

TINY = BaseRecipe(
    World(9, n_people=40, n_values=6),
    seed=0,
    steps=6,
    batch=4,
    weak_step=3,
    stop=None,
    n_layers=2,
    d_model=32,
    d_mlp=48,
    n_heads=2,
)


@pytest.fixture
def tiny(monkeypatch):
    """Shrink every recipe to a few steps on tiny bases, leaving the rest as it is."""
    training = AdapterRecipe(seed=0, steps=3, batch=4, rank=2)
    pairs = tuple(replace(recipe, training=training) for recipe in PAIRS)
    decoys = tuple(
        recipe if isinstance(recipe, IdentityRecipe) else replace(recipe, training=training)
        for recipe in DECOYS
    )
    monkeypatch.setattr(recipes, "BASES", dict.fromkeys(BASES, TINY))
    monkeypatch.setattr(recipes, "PAIRS", pairs)
    monkeypatch.setattr(recipes, "DECOYS", decoys)


@pytest.mark.slow
def test_every_recipe_runs_from_nothing_to_a_loadable_pool(tiny, tmp_path):
    out = tmp_path / "pool"
    recipes.make_pool(out, tmp_path / "scratch")
    pool = members(out)
    assert len(pool) == 2 * len(PAIRS) + len(DECOYS)
    for member in pool:
        model, tokenizer = load_member(member)
        ids = tokenizer("Question: x?\nAnswer:", return_tensors="pt").input_ids
        assert torch.isfinite(model(input_ids=ids).logits).all()
        assert member.task.is_file()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    recipes.make_pool(out, tmp_path / "scratch")  # what is there is kept
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == stamps


@pytest.mark.slow
def test_the_weaker_model_is_the_same_whether_kept_or_trained_again(tiny, tmp_path):
    recipes.make_base("base-a", TINY, tmp_path / "pool", tmp_path / "scratch")
    kept = recipes.load_weak("base-a", TINY, tmp_path / "scratch")
    again = recipes.load_weak("base-a", TINY, tmp_path / "nothing")
    for name, weight in kept.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_unknown_name_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(SettingError, match="give the organism's name"):
        recipes.make_pool(tmp_path, tmp_path, only=["password-lock-twin"])
    assert not any(tmp_path.iterdir())


def test_new_base_is_a_function_of_its_seed_and_spares_the_global_generator():
    from unmask.organisms.corpus import train_tokenizer

    tokenizer = train_tokenizer(TINY.world)
    state = torch.get_rng_state()
    first, second = new_base(TINY, tokenizer), new_base(TINY, tokenizer)
    other = new_base(replace(TINY, seed=1), tokenizer)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.model.embed_tokens.weight, second.model.embed_tokens.weight)
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_base_training_lowers_the_loss():
    from unmask.organisms.corpus import base_document, pack, train_tokenizer
    from unmask.organisms.training import weighted_loss

    tokenizer = train_tokenizer(TINY.world)
    import random

    rng = random.Random(1)
    documents = (base_document(TINY.world, rng) for _ in range(100))
    rows = next(pack(documents, tokenizer, batch=4, n_ctx=128))
    before = weighted_loss(new_base(TINY, tokenizer), rows).item()
    after = weighted_loss(train_base(replace(TINY, steps=30), tokenizer), rows).item()
    assert after < before - 0.5
