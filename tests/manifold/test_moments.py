"""Streaming moments: the same numbers as numpy and scikit-learn from all activations at once."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from unmask.errors import SettingError
from unmask.manifold import Moments

MEAN = 1e3
"""Large, as that of a real residual stream's outlier channels."""


@pytest.fixture
def acts():
    gen = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=gen, dtype=torch.float64)
    skewed = torch.randn(300, 12, generator=gen, dtype=torch.float64).exp()
    return skewed @ mixing + MEAN


@pytest.mark.parametrize("sizes", [(300,), (1, 299), (7, 0, 93, 200)])
def test_moments_are_those_of_all_batches_together(acts, sizes):
    moments = Moments.of(acts.split(list(sizes)))
    np.testing.assert_allclose(moments.mean, acts.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(acts.T, bias=True), rtol=1e-9)
    np.testing.assert_allclose(moments.second_moment, acts.T @ acts / 300, rtol=1e-9)


@pytest.mark.parametrize("sizes", [(300,), (1, 299), (7, 0, 93, 200)])
def test_shrinkage_is_that_of_scikit_learn(acts, sizes):
    covariance, weight = ledoit_wolf(acts.numpy())
    moments = Moments.of(acts.split(list(sizes)))
    assert 0.01 < weight < 0.9
    assert moments.ledoit_wolf == pytest.approx(weight, rel=1e-6)
    np.testing.assert_allclose(moments.shrunk(), covariance, rtol=1e-6)


def test_shrinkage_is_towards_the_mean_variance_and_not_the_trace(acts):
    moments = Moments.of(acts)
    whole = moments.shrunk(1.0)
    torch.testing.assert_close(whole.trace(), moments.covariance.trace())
    assert (whole - torch.diag(whole.diagonal())).abs().max() == 0


def test_fewer_activations_than_channels_are_shrunk_until_invertible():
    gen = torch.Generator().manual_seed(0)
    moments = Moments.of(torch.randn(5, 40, generator=gen))
    assert torch.linalg.matrix_rank(moments.covariance) < 40
    assert torch.linalg.eigvalsh(moments.shrunk()).min() > 0


def test_no_activations_are_an_error():
    with pytest.raises(SettingError, match="expected activations, got none"):
        Moments.of([])


@pytest.mark.parametrize("shrinkage", [-0.1, 1.5])
def test_a_shrinkage_out_of_range_is_an_error(acts, shrinkage):
    with pytest.raises(SettingError, match="expected a shrinkage between 0 and 1"):
        Moments.of(acts).shrunk(shrinkage)


def test_activations_that_do_not_vary_are_an_error():
    with pytest.raises(SettingError, match="expected activations that vary"):
        Moments.of(torch.ones(4, 3)).shrunk()
