"""The Cauchy combination: its level under dependence, and its limits."""

import numpy as np
import pytest
from scipy import stats as reference

from unmask.stats import cauchy_combination


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_level_holds_whatever_the_dependence(correlation):
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((20000, 1))
    own = rng.standard_normal((20000, 12))
    z = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    p = reference.norm.sf(z)
    rejected = np.mean([cauchy_combination(row) < 0.05 for row in p])
    assert 0.03 < rejected < 0.07
    # Control: the smallest of the p-values does not keep the level.
    if correlation < 0.9:
        assert (p.min(1) < 0.05).mean() > 0.2


def test_one_p_value_is_itself_and_order_does_not_matter():
    assert cauchy_combination(np.array([0.03])) == pytest.approx(0.03)
    rng = np.random.default_rng(1)
    p = rng.random(6)
    assert cauchy_combination(p) == pytest.approx(cauchy_combination(p[::-1]))
    smaller = p.copy()
    smaller[2] /= 10
    assert cauchy_combination(smaller) < cauchy_combination(p)


def test_extremes_are_finite_and_a_p_of_one_does_not_hide_a_small_one():
    assert cauchy_combination(np.array([0.0, 1.0])) < 1e-9
    assert cauchy_combination(np.array([1e-4, 1.0, 1.0, 1.0])) < 0.001
    assert 0.5 < cauchy_combination(np.array([1.0, 1.0])) <= 1
    assert cauchy_combination(np.full(5, 1e-18)) == pytest.approx(1e-18)


@pytest.mark.parametrize("bad", [[], [0.5, np.nan], [1.5]])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError):
        cauchy_combination(np.array(bad, dtype=float))
