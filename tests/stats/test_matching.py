"""The test of a matching: against all permutations, its level, and its limits."""

from itertools import permutations

import numpy as np
import pytest

from unmask.stats import matching


def rng():
    return np.random.default_rng(0)


def test_p_is_that_of_all_permutations():
    scores = rng().normal(size=(7, 5))
    own = np.array([0, 1, 2, 3, 4, 0, 2])
    sums = [scores[np.arange(7), np.array(p)[own]].sum() for p in permutations(range(5))]
    exact = np.mean(np.array(sums) >= sums[0] - 1e-9)
    assert 0.02 < exact < 0.98, "the case should tell something"
    assert matching(scores, own, rng=rng()) == pytest.approx(exact, abs=0.02)


def test_a_null_is_rejected_no_more_often_than_it_should_be():
    draws, own = rng(), np.arange(24) % 8
    # Items of one label are nearly copies: as independent items they would reject too often.
    p = []
    for _ in range(600):
        labels = np.repeat(draws.normal(size=(1, 8, 8)), 3, axis=0).reshape(24, 8)
        noisy = labels + 0.1 * draws.normal(size=(24, 8))
        p.append(matching(noisy, own, rng=draws, n_permutations=199))
    for level in (0.05, 0.1, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.03)


def test_what_is_added_to_an_item_changes_nothing():
    scores, own = rng().normal(size=(12, 6)), np.arange(12) % 6
    shifted = scores + rng().normal(size=(12, 1)) * 100
    assert matching(scores, own, rng=rng()) == matching(shifted, own, rng=rng())


def test_a_matching_is_found_and_its_reverse_is_not():
    scores, own = rng().normal(size=(18, 18)), np.arange(18)
    scores[own, own] += 3
    assert matching(scores, own, rng=rng()) == pytest.approx(1 / 10_001)
    assert matching(-scores, own, rng=rng()) > 0.99
    assert matching(np.zeros((18, 18)), own, rng=rng()) == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="expected a label from 0 to 1 for each of 2 items, got"):
        matching(np.zeros((2, 2)), np.array([0, 2]), rng=rng())
    with pytest.raises(ValueError, match="expected finite numbers in scores"):
        matching(np.full((2, 2), np.nan), np.array([0, 1]), rng=rng())
    with pytest.raises(ValueError, match="expected scores to have at least 1 items, got 0"):
        matching(np.zeros((0, 2)), np.zeros(0, int), rng=rng())
