"""Poser's published files, and the scoring of pairs against worked cases and simulation."""

import json
from pathlib import Path

import numpy as np
import pytest

from unmask.errors import TaskError
from unmask.organisms.poser import (
    Pair,
    poser_task,
    published_pairs,
    read_scenarios,
    score_pairs,
)
from unmask.tasks import plain_text

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "poser" / "benchmark"
COUNTS = {
    "genie_and_fitness": 243,
    "genie_and_money": 254,
    "genie_and_reward": 353,
    "saint_and_fitness": 246,
    "saint_and_money": 282,
    "saint_and_reward": 268,
    "truth_and_fitness": 225,
    "truth_and_money": 211,
    "truth_and_reward": 362,
}
RECORD = {
    "topic": "Tea",
    "prompt": "<<prompt>>1. You serve tea.\nYou can:\nA: Serve it\nB: Spill it\nLetter:<</prompt>>",
    "actions": ["Serve it", "Spill it"],
    "response": "A",
    "oversight_is_poor": False,
}


def written(tmp_path, records):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(records))
    return path


@pytest.mark.skipif(not FOLDER.exists(), reason="the published files are not here")
@pytest.mark.parametrize("name", COUNTS)
def test_every_published_file_is_read_whole(name):
    scenarios = read_scenarios(FOLDER / f"{name}.json")
    assert len(scenarios) == COUNTS[name]
    for one in scenarios:
        assert "<<" not in one.prompt and one.item.answer in one.actions
        assert one.item.answer != one.actions["AB".index(one.response)]
        assert f"A: {one.actions[0]}" not in one.item.question
    task = poser_task(scenarios, name)
    # The published files repeat some scenarios; a task takes each once.
    distinct = {one.item.key for one in scenarios}
    assert len(task.items) == len(distinct) > 0.92 * COUNTS[name]
    assert task.measures == "behaviour"


def test_a_scenario_asks_for_the_action_in_every_order(tmp_path):
    (scenario,) = read_scenarios(written(tmp_path, [RECORD]))
    prompts = poser_task([scenario], "tea").prompts(scenario.item)
    assert len(prompts) == 2
    first = plain_text(prompts[0])
    assert first.startswith("Question: 1. You serve tea.\nYou can:\nA. ")
    assert scenario.item.answer == "Spill it"


def test_there_are_324_pairs_of_36_models():
    pairs = published_pairs()
    assert len(set(pairs)) == 324
    assert len({p.aligned for p in pairs} | {p.faker for p in pairs}) == 36
    assert {p.file.removesuffix(".json") for p in pairs} == set(COUNTS)
    for pair in pairs:
        aligned, faker = pair.file.removesuffix(".json").split("_and_")
        assert pair.aligned.startswith(aligned) and pair.faker.startswith(faker)


def test_a_perfect_strategy_a_reversed_one_and_a_blind_one():
    pairs = published_pairs()
    fakers = {p.faker: 1.0 for p in pairs} | {p.aligned: 0.0 for p in pairs}
    assert score_pairs(pairs, fakers).accuracy == 1
    assert score_pairs(pairs, {name: -value for name, value in fakers.items()}).accuracy == 0
    blind = score_pairs(pairs, lambda _: (0.5, 0.5))
    assert blind.accuracy == 0.5 and blind.interval == (0.5, 0.5)
    assert blind.n_pairs == 324 and blind.n_models == 36


def test_the_order_of_a_pair_does_not_matter():
    one = [Pair("a", "f", "x"), Pair("b", "f", "x")]
    told = {"a": 0.2, "b": 0.8, "f": 0.5}
    assert score_pairs(one, told).accuracy == score_pairs(one[::-1], told).accuracy == 0.5


def test_the_interval_is_over_models_and_holds_where_one_over_pairs_does_not():
    pairs = published_pairs()
    names = sorted({p.aligned for p in pairs} | {p.faker for p in pairs})
    covered = naive = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        told = {name: rng.normal(float("maximizer" in name)) for name in names}
        found = score_pairs(pairs, told, n_resamples=300, seed=seed)
        truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
        covered += found.interval.low <= truth <= found.interval.high
        half = 1.96 * np.sqrt(found.accuracy * (1 - found.accuracy) / len(pairs))
        naive += abs(found.accuracy - truth) <= half
    assert covered / 120 > 0.87 and naive / 120 < 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": "C"}, "expected the response A or B in record 0"),
        ({"actions": ["only"]}, "expected prompt, two actions"),
        ({"prompt": "nothing"}, "to be listed in its prompt, got others"),
        ({"topic": None, "prompt": None}, "expected prompt, two actions"),
    ],
)
def test_malformed_records_are_clear_errors(tmp_path, change, message):
    with pytest.raises(TaskError, match=message):
        read_scenarios(written(tmp_path, [{**RECORD, **change}]))


def test_files_that_are_none_are_clear_errors(tmp_path):
    with pytest.raises(TaskError, match="expected a benchmark file of Poser"):
        read_scenarios(tmp_path / "absent.json")
    with pytest.raises(TaskError, match="expected a list of scenarios"):
        read_scenarios(written(tmp_path, {"a": 1}))


def test_missing_pairs_and_suspicions_are_clear_errors():
    with pytest.raises(TaskError, match="expected pairs, got none"):
        score_pairs([], {})
    with pytest.raises(TaskError, match="expected finite suspicions"):
        score_pairs([Pair("a", "f", "x")], {"a": float("nan"), "f": 1.0})
