"""Exact tests against chance, and the exact interval, against scipy and statsmodels."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from unmask.stats import above_chance, below_chance, clopper_pearson
from unmask.stats.checks import require_same_length


def hits_of(k, n):
    return np.arange(n) < k


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (10, 20), (20, 20), (20, 200)])
@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 1.0])
def test_equal_chances_agree_with_binomtest(k, n, chance):
    for ours, side in ((below_chance, "less"), (above_chance, "greater")):
        expected = scipy_stats.binomtest(k, n, chance, alternative=side).pvalue
        assert ours(hits_of(k, n), chance) == pytest.approx(expected, abs=1e-12)


def test_unequal_chances_agree_with_enumeration():
    chances = np.array([0.1, 0.25, 0.25, 0.5, 0.2, 0.9, 0.33])
    pmf = np.zeros(8)
    for outcome in itertools.product([0, 1], repeat=7):
        pmf[sum(outcome)] += np.prod(np.where(outcome, chances, 1 - chances))
    for k in range(8):
        assert below_chance(hits_of(k, 7), chances) == pytest.approx(pmf[: k + 1].sum())
        assert above_chance(hits_of(k, 7), chances) == pytest.approx(pmf[k:].sum())


def test_both_ways_of_equal_chances_agree():
    nearly = np.full(50, 0.25)
    nearly[0] += 1e-13  # takes the convolution
    assert below_chance(hits_of(7, 50), nearly) == pytest.approx(
        below_chance(hits_of(7, 50), 0.25), abs=1e-9
    )


def test_by_hand():
    assert below_chance(hits_of(0, 2), 0.25) == pytest.approx(9 / 16)
    assert below_chance(hits_of(0, 2), np.array([0.25, 0.5])) == pytest.approx(3 / 8)
    assert above_chance(hits_of(2, 2), np.array([0.25, 0.5])) == pytest.approx(1 / 8)


@pytest.mark.parametrize("n", [10, 40, 100])
def test_size_is_exact_and_at_most_alpha(n):
    p = np.array([below_chance(hits_of(k, n), 0.25) for k in range(n + 1)])
    probability = scipy_stats.binom.pmf(np.arange(n + 1), n, 0.25)
    size = probability[p <= 0.05].sum()
    assert size <= 0.05
    # Exact: p is its own probability, and one more hit would be over.
    rejected = int((p <= 0.05).sum())
    assert size == pytest.approx(0.0 if rejected == 0 else p[rejected - 1], abs=1e-12)
    assert p[rejected] > 0.05


def test_fewer_hits_are_stronger_evidence():
    p = [below_chance(hits_of(k, 30), 0.25) for k in range(31)]
    assert (np.diff(p) > 0).sum() > 10 and (np.diff(p) > -1e-12).all()


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 10), (37, 100), (1, 1), (0, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_clopper_pearson_agrees_with_statsmodels(k, n, level):
    expected = proportion_confint(k, n, alpha=1 - level, method="beta")
    np.testing.assert_allclose(clopper_pearson(k, n, level), expected, atol=1e-12)


def test_clopper_pearson_ends_by_hand():
    assert clopper_pearson(0, 20).low == 0.0
    assert clopper_pearson(20, 20).high == 1.0
    # P(no hit in 20) = .025 at the upper end.
    assert clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_errors_say_what_came():
    with pytest.raises(ValueError, match="expected chance between 0 and 1, got values from 25"):
        below_chance(hits_of(1, 5), 25.0)
    with pytest.raises(ValueError, match="chance between 0 and 1, got values from nan"):
        above_chance(hits_of(1, 2), np.array([np.nan, 0.5]))
    with pytest.raises(ValueError, match="hits to have at least 1 items, got 0"):
        below_chance(hits_of(0, 0), 0.25)
    with pytest.raises(ValueError, match="expected 0 <= k <= n and n >= 1, got k=5 and n=3"):
        clopper_pearson(5, 3)
    with pytest.raises(ValueError, match="got k=0 and n=0"):
        clopper_pearson(0, 0)
    with pytest.raises(ValueError, match="expected 0 < level < 1, got 95.0"):
        clopper_pearson(1, 3, 95.0)


def test_unequal_lengths_are_an_error():
    # Directly, as the shape checker of a test run refuses such a call before it gets there.
    with pytest.raises(ValueError, match="hits and chance to be of equal length, got 3 and 1"):
        require_same_length("hits", 3, "chance", 1)
