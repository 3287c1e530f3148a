"""Power of the confirmation test: against brute force, and its edges."""

import numpy as np
import pytest

from unmask.stats import detection_power, sign_flip, smallest_detectable


def rng(seed=0):
    return np.random.default_rng(seed)


def observed(n_items=100, seed=0, share=0.2):
    """Baseline and differences of a four-rotation task where a share of answers is redrawn."""
    generator = rng(seed)
    before = generator.random((n_items, 4)) < 0.3
    again = generator.random((n_items, 4)) < 0.3
    after = np.where(generator.random((n_items, 4)) < share, again, before)
    return before.mean(axis=1), after.mean(axis=1) - before.mean(axis=1)


@pytest.mark.parametrize("effect", [0.03, 0.06])
def test_agrees_with_one_audit_at_a_time(effect):
    baseline, differences = observed()
    fast = detection_power(baseline, differences, effect, rng=rng(1), n_sim=1000)

    generator = rng(2)
    noise = differences - differences.mean()
    room = [1 - b - e if b < 1 else 0.0 for b, e in zip(baseline, noise, strict=True)]
    found, means = 0, []
    for _ in range(400):
        gains = []
        for item in generator.integers(0, 100, size=100):
            lucky = generator.random() < effect / np.mean(room)
            full = lucky and baseline[item] < 1
            gains.append(1 - baseline[item] if full else noise[item])
        means.append(np.mean(gains))
        p = sign_flip(np.array(gains)[:, None], rng=generator, n_flips=500).p[0]
        found += p <= 0.05
    assert np.mean(means) == pytest.approx(effect, abs=0.006)
    assert 0.2 < fast.power < 0.99
    assert abs(fast.power - found / 400) < 3 * np.sqrt(0.25 / 400 + 0.25 / 1000)
    assert fast.interval.low < fast.power < fast.interval.high


def test_no_effect_is_found_as_often_as_alpha():
    baseline, differences = observed()
    result = detection_power(baseline, differences, 0.0, rng=rng(), n_sim=4000)
    assert abs(result.power - 0.05) < 0.02


def test_power_rises_with_effect_items_and_alpha():
    small, large = observed(50), observed(200)
    power = [detection_power(*small, effect, rng=rng()).power for effect in (0.0, 0.03, 0.06, 0.15)]
    assert power == sorted(power) and power[0] < 0.2 < 0.9 < power[-1]
    assert detection_power(*large, 0.03, rng=rng()).power > power[1]
    assert detection_power(*small, 0.03, alpha=0.01, rng=rng()).power < power[1]


def test_few_items_are_enumerated_and_cannot_reach_alpha():
    # Four items: the smallest p is 1 / 16.
    result = detection_power(np.zeros(4), np.zeros(4), 1.0, rng=rng())
    assert result.power == 0.0
    assert detection_power(np.zeros(5), np.zeros(5), 1.0, rng=rng()).power == 1.0


def test_smallest_detectable_has_the_power_and_the_step_below_has_not():
    baseline, differences = observed()
    smallest = smallest_detectable(baseline, differences, rng=rng(3))
    assert smallest is not None and 0.02 < smallest < 0.15
    seed = int(rng(3).integers(0, 2**63))
    at, below = (
        detection_power(baseline, differences, effect, rng=np.random.default_rng(seed)).power
        for effect in (smallest, smallest - 0.01)
    )
    assert below < 0.9 <= at


def test_a_noisier_arm_catches_less():
    quiet, noisy = (smallest_detectable(*observed(share=s), rng=rng()) for s in (0.02, 0.9))
    assert quiet is not None and noisy is not None and quiet < noisy


def test_nothing_is_detectable_without_room_or_items():
    assert smallest_detectable(np.ones(50), np.zeros(50), rng=rng()) is None
    assert smallest_detectable(np.zeros(4), np.zeros(4), rng=rng()) is None


def test_errors_say_what_came():
    baseline, differences = observed()
    with pytest.raises(ValueError, match="between 0 and the room of 0.25, got 0.3"):
        detection_power(np.full(8, 0.75), np.zeros(8), 0.3, rng=rng())
    with pytest.raises(ValueError, match="between 0 and the room of 0, got 0.1"):
        detection_power(np.ones(8), np.zeros(8), 0.1, rng=rng())
    with pytest.raises(ValueError, match="between 0 and the room .* got nan"):
        detection_power(baseline, differences, float("nan"), rng=rng())
    with pytest.raises(ValueError, match="n_flips of at least 9999 for alpha=0.0001, got 1000"):
        detection_power(baseline, differences, 0.1, alpha=1e-4, rng=rng())
    with pytest.raises(ValueError, match="expected 0 < alpha < 1, got 5.0"):
        detection_power(baseline, differences, 0.1, alpha=5.0, rng=rng())
    with pytest.raises(ValueError, match="n_sim of at least 1, got 0"):
        detection_power(baseline, differences, 0.1, rng=rng(), n_sim=0)
    with pytest.raises(ValueError, match="finite numbers in differences"):
        detection_power(baseline, differences * np.nan, 0.1, rng=rng())
    with pytest.raises(ValueError, match="expected baseline between 0 and 1, got values from -1"):
        detection_power(baseline - 1, differences, 0.1, rng=rng())
    with pytest.raises(ValueError, match="expected 0 < power < 1, got 90.0"):
        smallest_detectable(baseline, differences, 90.0, rng=rng())
