"""Holm, the split by content, and the choice and confirmation of one arm."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from unmask.stats import (
    bootstrap_mean,
    choose,
    confirm,
    confirmation_half,
    holm,
    sign_flip,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n_arms", [1, 2, 7, 40])
def test_holm_agrees_with_statsmodels(n_arms):
    p = rng(n_arms).random(n_arms) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.04])), [0.06, 0.03, 0.06])
    assert holm(np.array([])).shape == (0,)


def test_holm_lies_between_p_and_bonferroni():
    p = rng().random(12) ** 4
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, 12 * p)).all()
    assert (adjusted < np.minimum(1, 12 * p)).any()


def test_holm_follows_its_arms():
    p, order = np.array([0.03, 0.01, 0.04, 0.01]), np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(holm(p[order]), holm(p)[order])


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_holm_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match="expected p between 0 and 1"):
        holm(np.array([0.5, bad]))


def test_half_of_an_item_depends_on_no_other_item():
    keys = [f"item {i}" for i in range(400)]
    halves = dict(zip(keys, confirmation_half(keys), strict=True))
    assert 160 < sum(halves.values()) < 240
    fewer = keys[::-3]
    assert confirmation_half(fewer).tolist() == [halves[key] for key in fewer]


def test_halves_are_the_same_on_every_machine():
    first = confirmation_half([f"item {i}" for i in range(16)])
    assert "".join("01"[int(half)] for half in first) == "0110101001010100"


@pytest.mark.parametrize("keys", [[], ["one"], ["same"] * 50])
def test_a_half_without_items_is_an_error(keys):
    with pytest.raises(ValueError, match=f"at least 2 items in each half, got .* of {len(keys)}"):
        confirmation_half(keys)


def test_choose_takes_the_largest_gain_within_budget():
    gain, damage = np.array([0.1, 0.3, 0.9, 0.2]), np.array([0.1, 0.5, 0.6, 0.1])
    assert choose(gain, damage, 1.0) == 2
    assert choose(gain, damage, 0.5) == 1  # the budget itself is within budget
    assert choose(gain, damage, 0.4) == 3
    assert choose(gain, damage, 0.05) is None
    assert choose(np.array([]), np.array([]), 1.0) is None


def test_choose_breaks_ties_by_damage_then_order():
    assert choose(np.array([0.2, 0.2, 0.2]), np.array([0.3, 0.1, 0.1]), 1.0) == 1
    assert choose(np.array([0.2, 0.2]), np.array([0.1, 0.1]), 1.0) == 0


def test_choose_passes_over_a_broken_setting():
    assert choose(np.array([0.9, -0.1]), np.array([np.inf, 0.1]), 1.0) == 1


def test_choose_refuses_nan():
    with pytest.raises(ValueError, match=r"finite numbers in mean_gain.*index \(1,\)"):
        choose(np.array([0.1, np.nan]), np.array([0.1, 0.1]), 1.0)
    with pytest.raises(ValueError, match="expected damage and budget without NaN"):
        choose(np.array([0.1, 0.2]), np.array([0.1, np.nan]), 1.0)
    with pytest.raises(ValueError, match="and budget nan"):
        choose(np.array([0.1]), np.array([0.1]), float("nan"))


def test_confirm_is_the_test_of_item_means_and_the_bootstrap_of_both():
    differences = rng().normal(0.3, 1, size=(60, 4))
    gain = confirm(differences, rng=rng(1))
    assert gain.mean == pytest.approx(differences.mean())
    generator = rng(1)
    assert gain.p == sign_flip(differences.mean(axis=1)[:, None], rng=generator).p[0]
    assert gain.interval == bootstrap_mean(differences, rng=generator)
    assert gain.interval.low < gain.mean < gain.interval.high


def test_repeated_seeds_are_no_more_evidence():
    once = rng().normal(0.2, 1, size=(60, 1))
    tenfold = np.repeat(once, 10, axis=1)
    assert confirm(tenfold, rng=rng(1)).p == confirm(once, rng=rng(1)).p


def test_confirm_errors():
    with pytest.raises(ValueError, match="finite numbers in differences"):
        confirm(np.full((5, 2), np.nan), rng=rng())
    with pytest.raises(ValueError, match="differences to have at least 2 items, got 1"):
        confirm(np.ones((1, 2)), rng=rng())
    with pytest.raises(ValueError, match=r"at least 1 seed, got shape \(5, 0\)"):
        confirm(np.ones((5, 0)), rng=rng())
