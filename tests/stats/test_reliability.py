"""The reliability diagram, by hand and by simulation."""

import numpy as np
import pytest

from unmask.stats import reliability


def test_by_hand():
    claimed = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    happened = np.array([True, False, False, False, True, False])
    found = reliability(claimed, happened)
    assert [(one.claimed, one.happened, one.n) for one in found.bins] == [
        pytest.approx((0.1, 0.25, 4)),
        pytest.approx((0.9, 0.5, 2)),
    ]
    assert found.error == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)
    assert found.bins[1].interval.low < 0.5 < found.bins[1].interval.high


def test_honest_claims_have_little_error_and_bold_ones_much():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=20000)
    happened = rng.uniform(size=20000) < truth
    assert reliability(truth, happened).error < 0.02
    bold = np.clip(2 * truth - 0.5, 0, 1)
    assert reliability(bold, happened).error > 0.1


def test_claims_of_nothing_and_of_certainty_have_bins():
    found = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert found.error == 0.0 and len(found.bins) == 2


def test_bad_claims():
    with pytest.raises(ValueError, match="at least 1"):
        reliability(np.array([]), np.array([], dtype=bool))
    with pytest.raises(ValueError):
        reliability(np.array([1.5]), np.array([True]))
