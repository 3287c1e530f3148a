"""Shapes of curves whose values are known in closed form."""

import numpy as np
import pytest

from unmask import stats

ALPHAS = np.linspace(0, 1, 401)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (lambda a: 3 * a, (0.1, 0.5, 1.0, 0.0)),
        (lambda a: 7 * a**2, (0.1**0.5, 0.5**0.5, 2.0, 1 / 6)),
        (lambda a: np.clip(4 * a - 3, 0, None), (0.775, 0.875, 4.0, 0.375)),
        (lambda a: a**0.5, (0.01, 0.25, 20.0, -1 / 6)),
    ],
)
def test_shapes_of_known_curves(curve, expected):
    found = stats.shape(5 * ALPHAS, curve(ALPHAS)[None])
    assert [float(part[0]) for part in found] == pytest.approx(expected, abs=0.01)


def test_a_shape_depends_neither_on_the_unit_nor_on_the_offset():
    curve = np.stack([ALPHAS**2, 5 + 9 * ALPHAS**2])
    one, other = np.array(stats.shape(ALPHAS, curve)).T
    assert one == pytest.approx(other)


def test_a_curve_that_does_not_respond_has_no_shape():
    found = stats.shape(ALPHAS, np.zeros((1, 401)))
    assert np.isnan(np.array(found)).all()


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, 8.0])
def test_the_power_of_a_mixture_is_found(p):
    angles = np.linspace(0, np.pi / 2, 9)
    r = ((2 * np.cos(angles)) ** p + (3 * np.sin(angles)) ** p) ** (1 / p)
    assert stats.mixing_power(angles, r) == pytest.approx(p, rel=1e-3)


def test_a_linear_map_gives_the_power_two_for_directions_that_it_keeps_orthogonal():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    angles = np.linspace(0, np.pi / 2, 9)
    inputs = np.cos(angles)[:, None] * np.eye(5)[0] + np.sin(angles)[:, None] * np.eye(5)[1]
    responses = np.linalg.norm(inputs @ (q * [2.0, 7.0, 1, 1, 1]).T, axis=1)
    assert stats.mixing_power(angles, responses) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.shape(ALPHAS[:2], np.ones((1, 2))), "at least 3"),
        (lambda: stats.shape(1 + ALPHAS, np.ones((1, 401))), "increase from 0"),
        (lambda: stats.shape(ALPHAS, np.full((1, 401), np.nan)), "finite numbers in responses"),
        (lambda: stats.mixing_power(np.linspace(0, 1, 5), np.ones(5)), "from 0 to pi/2"),
        (
            lambda: stats.mixing_power(np.linspace(0, np.pi / 2, 5), np.zeros(5)),
            "too short to change anything",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
