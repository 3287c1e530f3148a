"""Error rates of the whole procedure on simulated subjects, beside the statistic we do not use.

The subject answers `n_draws` variants (rotations, seeds) of 200 items, and every setting redraws
a fifth of the answers at random: scores move, the accuracy does not.
"""

import numpy as np
import pytest

from unmask.stats import choose, confirmation_half, holm, sign_flip

N_ITEMS, N_SETTINGS, N_ARMS, SHARE = 200, 30, 3, 0.2


def max_ratio(scores, baseline):
    """Return phi of Tice et al. (arXiv:2412.01784): best accuracy over settings / baseline's."""
    return scores.mean(axis=1).max() / baseline.mean()


def simulate(generator, n_draws, accuracy, effect=0.0):
    """Return the baseline [items] and each arm's scores [settings, items].

    With an effect, setting 7 of each arm also turns wrong answers right.
    """
    before = generator.random((N_ITEMS, n_draws)) < accuracy
    shape = (N_ARMS, N_SETTINGS, N_ITEMS, n_draws)
    chance = generator.random(shape, dtype=np.float32)
    redrawn = generator.random(shape, dtype=np.float32) < accuracy
    after = np.where(chance < SHARE, redrawn, before)
    lifted = generator.random(after[:, 7].shape) < effect / (1 - accuracy)
    after[:, 7] |= lifted
    return before.mean(axis=1), after.mean(axis=3)


def audit(scores, baseline, confirming, generator):
    """Choose on one half, test on the other: the p-value of one arm, and the setting."""
    differences = scores - baseline
    chosen = choose(differences[:, ~confirming].mean(axis=1), np.zeros(N_SETTINGS), 0.5)
    assert chosen is not None
    tested = differences[chosen, confirming][:, None]
    return sign_flip(tested, rng=generator, n_flips=999).p[0], chosen


def naive_p(scores, baseline, generator):
    """Test the setting of the largest ratio as if it had been fixed in advance."""
    best = scores.mean(axis=1).argmax()
    return sign_flip((scores[best] - baseline)[:, None], rng=generator, n_flips=999).p[0]


def error_rates(n_sim, n_draws, accuracy, graded=False):
    """Return the rates of one arm, of any of the arms, and of the naive test, and the mean phi.

    Graded items are worth different amounts, so that sums over items have no ties.
    """
    generator = np.random.default_rng(11)
    single, family, naive, ratios = [], [], [], []
    for sim in range(n_sim):
        confirming = confirmation_half([f"audit {sim}, item {i}" for i in range(N_ITEMS)])
        worth = generator.uniform(0.5, 1, size=N_ITEMS) if graded else np.ones(N_ITEMS)
        baseline, arms = (worth * s for s in simulate(generator, n_draws, accuracy))
        p = np.array([audit(scores, baseline, confirming, generator)[0] for scores in arms])
        single.append(np.mean(p <= 0.05))
        family.append(holm(p).min() <= 0.05)
        naive.append(naive_p(arms[0], baseline, generator) <= 0.05)
        ratios.append(max_ratio(arms[0], baseline))
    return np.mean(single), np.mean(family), np.mean(naive), np.mean(ratios)


def monte_carlo_error(n_sim):
    return 3 * np.sqrt(0.05 * 0.95 / n_sim)


def test_false_positive_rate_is_alpha_while_the_largest_ratio_finds_what_is_not_there():
    n_sim = 400
    single, family, naive, ratio = error_rates(n_sim, n_draws=8, accuracy=0.25, graded=True)
    assert abs(single - 0.05) < monte_carlo_error(n_sim)
    assert abs(family - 0.05) < monte_carlo_error(n_sim)
    assert naive > 0.4
    assert ratio > 1.03


def test_false_positive_rate_with_right_or_wrong_items_is_below_alpha():
    # About 8 of 100 items change at all, so that ties make the test conservative.
    n_sim = 400
    single, family, naive, ratio = error_rates(n_sim, n_draws=1, accuracy=0.25)
    assert single < 0.05 + monte_carlo_error(n_sim)
    assert family < 0.05 + monte_carlo_error(n_sim)
    assert naive > 0.4
    assert ratio > 1.1


@pytest.mark.parametrize("n_draws", [1, 4])
def test_effect_of_fifteen_points_in_one_setting_of_thirty_is_found(n_draws):
    generator = np.random.default_rng(12)
    found, right = [], []
    for sim in range(100):
        confirming = confirmation_half([f"audit {sim}, item {i}" for i in range(N_ITEMS)])
        # The effect is on top of the redrawn answers.
        baseline, arms = simulate(generator, n_draws, 0.25, effect=0.15)
        for scores in arms:
            p, chosen = audit(scores, baseline, confirming, generator)
            found.append(p <= 0.05)
            right.append(chosen == 7)
    assert np.mean(found) > 0.9
    assert np.mean(right) > 0.9
