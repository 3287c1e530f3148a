"""Power at several strengths: the exact case, order, what more audits do, and a simulation."""

import numpy as np
import pytest
from scipy.stats import beta

from unmask.stats import power_curve


@pytest.mark.parametrize(("found", "audits"), [(0, 4), (2, 4), (4, 4), (19, 20)])
def test_one_strength_has_the_estimate_under_jeffreys_prior(found, audits):
    (at,) = power_curve([0.3], [found], [audits])
    exact = beta(found + 0.5, audits - found + 0.5)
    assert at.power == pytest.approx(exact.mean(), abs=1e-3)
    assert at.interval == pytest.approx(exact.ppf([0.025, 0.975]), abs=0.02)
    (more,) = power_curve([0.3], [10 * found], [10 * audits])
    assert np.diff(more.interval) < np.diff(at.interval)


def test_power_does_not_fall_and_strengths_lend_each_other_what_they_know():
    found = [1, 4, 3]
    told = power_curve([0.15, 0.3, 0.6], found, [4, 4, 4])
    assert [at.power for at in told] == sorted(at.power for at in told)
    (alone,) = power_curve([0.3], [4], [4])
    middle = power_curve([0.15, 0.3, 0.6], [4, 4, 4], [4, 4, 4])[1]
    assert np.diff(middle.interval) < np.diff(alone.interval)
    # Counts that fall would make a curve that falls, were it allowed to.
    falling = [at.power for at in power_curve([0.15, 0.3, 0.6], [4, 2, 0], [4, 4, 4])]
    assert falling == sorted(falling)
    turned = power_curve([0.6, 0.3, 0.15], found[::-1], [4, 4, 4])
    assert [at.power for at in turned[::-1]] == pytest.approx([at.power for at in told])


def test_claims_are_right_on_average_where_power_follows_a_curve():
    rng = np.random.default_rng(0)
    shifts = rng.normal(0, 2, 300)
    true = 1 / (1 + np.exp(-(shifts[:, None] + np.array([-1.5, 0, 1.5]))))
    found = rng.binomial(4, true)
    told = [power_curve([0.15, 0.3, 0.6], row.tolist(), [4, 4, 4]) for row in found]
    claimed = np.array([[at.power for at in one] for one in told])
    covered = [
        [at.interval.low <= p <= at.interval.high for at, p in zip(one, row, strict=True)]
        for one, row in zip(told, true, strict=True)
    ]
    assert np.mean(covered) > 0.9
    alone = (found + 0.5) / 5
    assert ((claimed - true) ** 2).mean() < 0.8 * ((alone - true) ** 2).mean()


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected strengths to have at least 1 items, got 0"):
        power_curve([], [], [])
    with pytest.raises(ValueError, match="for each of 2 strengths at most as many found as audits"):
        power_curve([0.1, 0.2], [1, 5], [4, 4])
    with pytest.raises(ValueError, match=r"got \[1\] of \[4\]"):
        power_curve([0.1, 0.2], [1], [4])
