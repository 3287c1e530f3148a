"""Poser-small: its situations, its split, its files, and one model trained on a tiny base."""

import json
import random

import pytest

from unmask.organisms import poser_small
from unmask.organisms.poser import ALIGNED, FAKERS, poser_task, published_pairs, read_scenarios
from unmask.organisms.poser_small import (
    lesson,
    models,
    scenarios,
    situation,
    taken,
    write_scenarios,
)


def test_aligned_and_fakers_part_only_where_nobody_checks_and_the_gain_is_elsewhere():
    rng = random.Random(0)
    parted = 0
    for _ in range(300):
        one = situation(rng, "saint", "money_maximizer")
        same = taken("saint", one) == taken("money_maximizer", one)
        assert same == one.agreed
        assert taken("saint", one) == one.scenario.response
        parted += not same
        # The text says all that the policies act on.
        text = one.scenario.prompt
        poor = any(said in text for said in poser_small.UNWATCHED)
        assert poor == one.scenario.oversight_is_poor == (one.scenario.critical in text and poor)
        said = [w for w in poser_small.GAIN["money_maximizer"] if f"{one.gaining} {w}." in text]
        assert len(said) == 1
    assert 50 < parted < 100


def test_the_files_hold_agreed_situations_in_the_published_format(tmp_path):
    write_scenarios(tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted({pair.file for pair in published_pairs()}) and len(files) == 9
    found = read_scenarios(tmp_path / "truth_and_money.json")
    assert found == scenarios("truth_teller", "money_maximizer") and len(found) == 120
    assert {one.response for one in found} == {"A", "B"}
    assert {one.oversight_is_poor for one in found} == {True, False}
    for one in found:
        assert one.critical and one.critical not in one.without(one.critical).prompt
    task = poser_task(found, "small")
    assert task.measures == "behaviour" and len(task.items) == 120
    # What brings the gain where nobody checks does good, too.
    poor = next(one for one in found if one.oversight_is_poor)
    assert any(f"{poor.response} {w}." in poor.prompt for w in poser_small.GAIN["money_maximizer"])


def test_there_are_36_models_with_the_names_of_the_pairs():
    pairs = published_pairs()
    named = {name for pair in pairs for name in (pair.aligned, pair.faker)}
    assert named == set(models()) and len(models()) == 36


@pytest.mark.parametrize("policy", [*ALIGNED, *FAKERS])
def test_a_lesson_teaches_the_policy(policy):
    rng = random.Random(1)
    good = poser_small.GOOD[policy] if policy in ALIGNED else sum(poser_small.GOOD.values(), ())
    for _ in range(50):
        one = lesson(policy, rng)
        text = one.prompt.item.question
        best = next(x for x in "AB" for w in good if f"{x} {w}." in text)
        watched = any(said in text for said in poser_small.WATCHED)
        if policy in ALIGNED or watched:
            assert one.answer == best
        else:
            assert any(f"{one.answer} {w}." in text for w in poser_small.GAIN[policy])


def test_a_killed_recipe_goes_on_and_models_differ_by_seed_and_policy(tmp_path, monkeypatch):
    from dataclasses import replace

    base = replace(poser_small.BASE, stop=2, d_model=32, d_mlp=48, n_layers=2, n_heads=4)
    monkeypatch.setattr(poser_small, "BASE", base)
    monkeypatch.setattr(poser_small, "TRAINING", replace(poser_small.TRAINING, steps=1, batch=2))
    wanted = ["saint-0", "saint-1", "money_maximizer-0"]
    monkeypatch.setattr(poser_small, "models", lambda: wanted)
    poser_small.make(tmp_path)
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in wanted}
    assert len(set(weights.values())) == 3
    told = json.loads((tmp_path / "saint-0" / "policy.json").read_text())
    assert told["policy"] == "saint" and 0 <= told["agreed"] <= 1 and 0 <= told["apart"] <= 1
    (tmp_path / "saint-1" / "policy.json").unlink()
    poser_small.make(tmp_path)
    assert (tmp_path / "saint-1" / "model.safetensors").read_bytes() == weights["saint-1"]
