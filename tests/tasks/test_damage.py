import math
import sys
from pathlib import Path

import pytest

from unmask.edits import NO_EDIT, ResidualNoise, Site, WeightNoise
from unmask.tasks.damage import damages, neutral_texts

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny import subject  # noqa: E402


def test_neutral_passages_are_cut_in_two_and_lose_no_word():
    texts = neutral_texts()
    assert len(texts) >= 16
    for read, predicted in texts:
        assert predicted.startswith(" ") and not read.endswith(" ")
        assert abs(len(read.split()) - len(predicted.split())) <= 1


def test_damage_grows_with_the_scale_and_is_zero_without_an_edit():
    s = subject("llama")
    noise = [ResidualNoise(Site(1, "resid_pre"), scale, 0) for scale in (0.0, 0.05, 0.2, 0.8)]
    none, *found = damages(s, [NO_EDIT, *noise])
    assert none == pytest.approx(0, abs=1e-6) and found[0] == pytest.approx(0, abs=1e-6)
    assert 1e-6 < found[1] < found[2] < found[3] < math.log(s.decoder.d_vocab) * 10


def test_an_edit_acts_on_neutral_text_wherever_its_positions_are():
    s = subject("llama")
    places = ("all", "prompt", "last", "answer")
    edits = [ResidualNoise(Site(1, "resid_pre", place), 0.5, 0) for place in places]
    every, prompt, last, answer = damages(s, [*edits])
    assert every > prompt > last > 1e-6 and every > answer > 1e-6


def test_damage_of_weights_is_undone():
    s = subject("llama")
    once, twice = damages(s, [WeightNoise(0.1, 0)]), damages(s, [WeightNoise(0.1, 0)])
    assert once == twice and once[0] > 1e-6
    assert damages(s, [NO_EDIT]) == [pytest.approx(0, abs=1e-6)]
