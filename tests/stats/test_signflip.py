"""Sign-flip test: against scipy, by properties, by hand, and its size."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import sign_flip


def rng(seed=0):
    return np.random.default_rng(seed)


# Dyadic, so that sums are exact: the reference breaks ties by rounding, we do not.
def scores(n_items=40, n_settings=6, seed=0, shift=0.125):
    return rng(seed).choice([-1, -0.5, 0, 0.5, 1], size=(n_items, n_settings)) + shift


def test_exact_p_agrees_with_scipy():
    differences = scores(n_items=10, n_settings=5)
    result = sign_flip(differences, rng=rng(), n_flips=1024)
    for setting in range(5):
        reference = scipy_stats.permutation_test(
            (differences[:, setting],),
            np.mean,
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
        )
        assert result.p_single[setting] == pytest.approx(reference.pvalue)


def test_t_agrees_with_scipy():
    differences = scores()
    reference = scipy_stats.ttest_1samp(differences, 0).statistic
    np.testing.assert_allclose(sign_flip(differences, rng=rng(), n_flips=10).t, reference)


def test_exact_max_t_agrees_with_brute_force_over_t():
    differences = rng(1).normal(0.2, 1, size=(8, 4))

    def t_of(table):
        return table.mean(axis=0) / (table.std(axis=0, ddof=1) / np.sqrt(len(table)))

    observed = t_of(differences)
    largest = [
        t_of(differences * np.array(signs)[:, None]).max()
        for signs in itertools.product([1, -1], repeat=8)
    ]
    expected = [(np.array(largest) >= t - 1e-9).mean() for t in observed]
    np.testing.assert_allclose(sign_flip(differences, rng=rng(), n_flips=256).p, expected)


def test_random_flips_approach_the_exact_p():
    differences = scores(n_items=12, n_settings=3)
    exact = sign_flip(differences, rng=rng(), n_flips=4096)
    sampled = sign_flip(differences, rng=rng(), n_flips=4000)
    assert (exact.p_single > 0.01).any()
    np.testing.assert_allclose(sampled.p, exact.p, atol=0.03)
    np.testing.assert_allclose(sampled.p_single, exact.p_single, atol=0.03)


def test_by_hand():
    # 8 flips of (1, 1, 1): only the identity reaches the sum 3.
    result = sign_flip(np.array([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0]]), rng=rng())
    np.testing.assert_array_equal(result.p_single, [1 / 8, 1.0])
    np.testing.assert_array_equal(result.t, [np.inf, -np.inf])
    # The largest of r and -r is reached by both constant flips.
    np.testing.assert_array_equal(result.p, [2 / 8, 1.0])


def test_smallest_random_p_is_one_over_flips_plus_one():
    assert sign_flip(np.ones((100, 1)), rng=rng(), n_flips=99).p[0] == 1 / 100


def test_all_zero_setting_has_p_one_and_costs_the_others_nothing():
    differences = scores()
    with_zeros = np.column_stack([differences, np.zeros(40)])
    alone = sign_flip(differences, rng=rng(), n_flips=500)
    result = sign_flip(with_zeros, rng=rng(), n_flips=500)
    assert (result.t[-1], result.p[-1], result.p_single[-1]) == (0.0, 1.0, 1.0)
    assert alone.p.min() < 1
    np.testing.assert_array_equal(result.p[:-1], alone.p)


def test_max_t_never_lowers_p_and_keeps_the_order_of_t():
    result = sign_flip(scores(n_settings=20), rng=rng(), n_flips=999)
    assert (result.p > result.p_single).any()
    assert (result.p >= result.p_single).all()
    assert (np.diff(result.p[np.argsort(result.t)]) <= 0).all()


def test_one_setting_needs_no_adjustment():
    result = sign_flip(scores(n_settings=1), rng=rng(), n_flips=999)
    np.testing.assert_array_equal(result.p, result.p_single)


def test_permuting_settings_permutes_p():
    differences, order = scores(), np.array([3, 1, 5, 0, 2, 4])
    before = sign_flip(differences, rng=rng(), n_flips=999)
    after = sign_flip(differences[:, order], rng=rng(), n_flips=999)
    np.testing.assert_array_equal(after.p, before.p[order])
    np.testing.assert_array_equal(after.p_single, before.p_single[order])


def test_order_of_items_does_not_matter():
    differences = scores(n_items=10)
    before = sign_flip(differences, rng=rng(), n_flips=1024)
    after = sign_flip(differences[::-1].copy(), rng=rng(), n_flips=1024)
    np.testing.assert_array_equal(after.p, before.p)


@pytest.mark.parametrize("scale", [1e-200, 0.1, 3.0, 1e200])
def test_unit_of_the_score_does_not_matter(scale):
    differences = scores()
    before = sign_flip(differences, rng=rng(), n_flips=999)
    after = sign_flip(differences * scale, rng=rng(), n_flips=999)
    np.testing.assert_array_equal(after.p, before.p)
    np.testing.assert_allclose(after.t, before.t)


def test_a_larger_gain_has_a_smaller_p():
    lifted = [sign_flip(scores(shift=s), rng=rng(), n_flips=999).p for s in (0.0, 0.2, 0.4)]
    assert (lifted[0] >= lifted[1]).all() and (lifted[1] >= lifted[2]).all()
    assert lifted[0].min() > lifted[2].min()


@pytest.mark.parametrize("n_items", [6, 60])
def test_size_with_discrete_scores(n_items):
    # Every column is a data set of its own; scores move in quarters, as over four rotations.
    quarters = np.arange(-4, 5) / 4
    differences = rng(5).choice(quarters, size=(n_items, 4000))
    p = sign_flip(differences, rng=rng(6), n_flips=1999).p_single
    for alpha in (0.01, 0.05, 0.2):
        error = 3 * np.sqrt(alpha * (1 - alpha) / 4000)
        assert (p <= alpha).mean() < alpha + error
    assert (p <= 0.2).mean() > 0.15  # not conservative to the point of being useless


def test_family_of_settings_errs_as_often_as_stated():
    generator = rng(7)
    hits = [
        sign_flip(generator.normal(size=(50, 10)), rng=generator, n_flips=199) for _ in range(1500)
    ]
    adjusted = np.mean([h.p.min() <= 0.05 for h in hits])
    single = np.mean([h.p_single.min() <= 0.05 for h in hits])
    assert single > 0.3  # ten tests unadjusted
    assert abs(adjusted - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_an_error(bad):
    differences = scores()
    differences[3, 2] = bad
    with pytest.raises(ValueError, match=r"finite numbers in differences.*index \(3, 2\)"):
        sign_flip(differences, rng=rng())


def test_too_little_is_an_error():
    with pytest.raises(ValueError, match="differences to have at least 2 items, got 1"):
        sign_flip(np.ones((1, 3)), rng=rng())
    with pytest.raises(ValueError, match=r"at least 1 setting, got shape \(5, 0\)"):
        sign_flip(np.ones((5, 0)), rng=rng())
    with pytest.raises(ValueError, match="n_flips of at least 1, got 0"):
        sign_flip(np.ones((5, 1)), rng=rng(), n_flips=0)
