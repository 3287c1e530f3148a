"""Conformal p-values: their level by exchangeability, and their limits."""

import numpy as np
import pytest

from unmask.stats import conformal_p


@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "ties"])
def test_a_null_is_rejected_no_more_often_than_it_should_be(draw):
    rng = np.random.default_rng(0)

    def scores(*shape):
        if draw == "ties":
            return rng.integers(3, size=shape).astype(float)
        return getattr(rng, draw)(shape)

    p = np.array(
        [
            conformal_p(float(own), nulls)
            for own, nulls in zip(scores(4000), scores(4000, 39), strict=True)
        ]
    )
    for level in (0.05, 0.1, 0.5):
        assert (p <= level).mean() < level + 0.02
    # Control: without ties the level is reached, and what is no null is rejected.
    if draw != "ties":
        assert (p <= 0.05).mean() > 0.03
    assert conformal_p(1e9, scores(39)) == pytest.approx(1 / 40)


def test_it_counts_nulls_that_are_as_extreme():
    nulls = np.array([1.0, 2.0, 2.0, 3.0])
    assert [conformal_p(s, nulls) for s in (4.0, 3.0, 2.0, 0.0)] == pytest.approx(
        [0.2, 0.4, 0.8, 1]
    )


def test_bad_scores():
    with pytest.raises(ValueError, match="at least 1"):
        conformal_p(1.0, np.array([]))
    with pytest.raises(ValueError, match="NaN"):
        conformal_p(float("nan"), np.array([1.0]))
