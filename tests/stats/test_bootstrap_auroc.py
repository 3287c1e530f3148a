"""Bootstrap intervals and the AUROC: against scipy, and their coverage."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import auroc, auroc_interval, bootstrap_mean


def rng(seed=0):
    return np.random.default_rng(seed)


def test_bootstrap_agrees_with_scipy():
    values = rng().exponential(size=80)
    ours = bootstrap_mean(values, rng=rng(1), n_boot=8000)
    reference = scipy_stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=8000, rng=rng(2)
    ).confidence_interval
    np.testing.assert_allclose(ours, reference, atol=0.02)
    assert ours.high - ours.low > 0.2


def test_one_seed_is_the_same_as_no_seeds():
    values = rng().normal(size=30)
    assert bootstrap_mean(values, rng=rng(1)) == bootstrap_mean(values[:, None], rng=rng(1))


def test_constant_values_have_no_width():
    assert bootstrap_mean(np.full(9, 0.5), rng=rng()) == (0.5, 0.5)


def test_a_higher_level_is_wider():
    values = rng().normal(size=30)
    narrow = bootstrap_mean(values, rng=rng(1), level=0.8)
    wide = bootstrap_mean(values, rng=rng(1), level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_variation_over_seeds_widens_the_interval():
    quiet = np.repeat(rng().normal(size=(30, 1)), 3, axis=1)
    noisy = quiet + np.array([-3.0, 0.0, 3.0])  # same item means
    narrow, wide = (bootstrap_mean(v, rng=rng(1)) for v in (quiet, noisy))
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


def test_items_not_seeds_are_the_sample():
    values = rng().normal(size=(40, 1))
    once = bootstrap_mean(values, rng=rng(1))
    tenfold = bootstrap_mean(np.repeat(values, 10, axis=1), rng=rng(1))
    ratio = (tenfold.high - tenfold.low) / (once.high - once.low)
    assert 0.9 < ratio < 1.1


def test_coverage():
    generator = rng(3)
    covered = {"scores": 0, "seeds": 0}
    for _ in range(600):
        scores = generator.choice([-1, -0.5, 0, 0.5, 1], p=[0.05, 0.1, 0.5, 0.2, 0.15], size=80)
        interval = bootstrap_mean(scores, rng=generator, n_boot=400)
        covered["scores"] += interval.low <= 0.15 <= interval.high
        table = generator.normal(size=(60, 1)) + generator.normal(size=(60, 3))
        interval = bootstrap_mean(table, rng=generator, n_boot=400)
        covered["seeds"] += interval.low <= 0 <= interval.high
    # Monte-Carlo error .9 points; 400 replicates and 80 items cost a little coverage.
    assert 0.92 < covered["scores"] / 600 < 0.975
    assert 0.93 < covered["seeds"] / 600 < 0.995  # seeds are counted more than once


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auroc_agrees_with_mannwhitneyu(decimals):
    positive = rng(1).normal(0.5, 1, size=40).round(decimals)
    negative = rng(2).normal(0.0, 1, size=70).round(decimals)
    u = scipy_stats.mannwhitneyu(positive, negative).statistic
    assert auroc(positive, negative) == pytest.approx(u / (40 * 70))
    assert auroc(positive, negative) + auroc(negative, positive) == pytest.approx(1)


def test_auroc_by_hand():
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([1.0, 3.0]), np.array([2.0, 1.0])) == pytest.approx(2.5 / 4)


def test_auroc_interval_agrees_with_plain_resampling_of_groups():
    generator = rng(4)
    groups = np.arange(60) // 3
    positive = generator.normal(0.8, 1, size=20)[groups] + 0.3 * generator.normal(size=60)
    negative = generator.normal(0.0, 1, size=20)[groups] + 0.3 * generator.normal(size=60)
    kwargs = {"positive_groups": groups, "negative_groups": groups + 100}
    ours = auroc_interval(positive, negative, rng=rng(5), n_boot=4000, **kwargs)
    replicates = []
    for _ in range(1500):
        p = positive.reshape(20, 3)[generator.integers(0, 20, 20)].ravel()
        n = negative.reshape(20, 3)[generator.integers(0, 20, 20)].ravel()
        replicates.append(auroc(p, n))
    np.testing.assert_allclose(ours, np.quantile(replicates, [0.025, 0.975]), atol=0.015)

    each = auroc_interval(
        positive,
        negative,
        positive_groups=np.arange(60),
        negative_groups=np.arange(60, 120),
        rng=rng(5),
    )
    assert ours.high - ours.low > 1.3 * (each.high - each.low)


def test_groups_with_both_classes_stay_whole():
    # Within every group the positive is just above; between groups it is noise.
    base = rng(6).normal(size=30)
    names = np.array([f"family {i}" for i in range(30)])
    paired = auroc_interval(
        base + 0.5, base, positive_groups=names, negative_groups=names, rng=rng()
    )
    apart = auroc_interval(
        base + 0.5,
        base,
        positive_groups=names,
        negative_groups=np.char.add(names, " twin"),
        rng=rng(),
    )
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


def test_errors_say_what_came():
    ten = np.arange(10.0)
    with pytest.raises(ValueError, match=r"finite numbers in values.*index \(0, 0\)"):
        bootstrap_mean(np.array([np.nan, 1.0]), rng=rng())
    with pytest.raises(ValueError, match="values to have at least 2 items, got 1"):
        bootstrap_mean(np.array([1.0]), rng=rng())
    with pytest.raises(ValueError, match=r"at least 1 seed per item, got shape \(4, 0\)"):
        bootstrap_mean(np.ones((4, 0)), rng=rng())
    with pytest.raises(ValueError, match="n_boot of at least 1, got 0"):
        bootstrap_mean(ten, rng=rng(), n_boot=0)
    with pytest.raises(ValueError, match="expected 0 < level < 1, got 1.0"):
        bootstrap_mean(ten, rng=rng(), level=1.0)
    with pytest.raises(ValueError, match="finite numbers in negative"):
        auroc(ten, np.array([np.nan]))
    with pytest.raises(ValueError, match="positive to have at least 1 items, got 0"):
        auroc(np.array([]), ten)
    groups = np.arange(10)
    with pytest.raises(ValueError, match="positive scores from at least 2 groups, got 1"):
        auroc_interval(
            ten, ten, positive_groups=np.zeros(10), negative_groups=groups * 1.0, rng=rng()
        )
