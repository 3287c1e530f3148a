"""Densities: their numbers against scipy and scikit-learn, and their ranks of real activations."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from unmask.errors import MissingExtraError, SettingError
from unmask.manifold import Gaussian, Mixture, Moments, Vae, load, save

D = 8


def drawn(n, seed, shift=0.0):
    """Two groups, on two curved sheets, in more dimensions than the sheets have."""
    gen = torch.Generator().manual_seed(seed)
    flat = torch.randn(n, 3, generator=gen)
    group = torch.rand(n, 1, generator=gen) < 0.3
    curved = torch.cat([flat, torch.sin(2 * flat), flat[:, :2] * flat[:, 1:]], -1)
    noise = 0.1 * torch.randn(n, D, generator=gen)
    return 3 * curved + 6 * group + noise + 20 + shift * torch.randn(n, D, generator=gen)


FITS = {
    "gaussian": Gaussian.fit,
    "mixture": lambda acts: Mixture.fit(acts, 4),
    "vae": lambda acts: Vae.fit(acts, d_latent=4, n_steps=600),
}


@pytest.fixture(scope="module", params=sorted(FITS))
def density(request):
    return FITS[request.param](drawn(2000, 0)).calibrate(drawn(800, 1))


def test_gaussian_log_probability_is_that_of_scipy():
    acts = drawn(500, 0)
    moments = Moments.of(acts)
    expected = stats.multivariate_normal(moments.mean.numpy(), moments.shrunk().numpy())
    found = Gaussian.fit(acts).log_prob(acts)
    np.testing.assert_allclose(found, expected.logpdf(acts.numpy()), rtol=1e-4)


def test_mixture_log_probability_is_that_of_scikit_learn():
    acts = drawn(500, 0)
    moments = Moments.of(acts)
    ridge = moments.ledoit_wolf * float(moments.covariance.trace()) / D
    expected = GaussianMixture(3, reg_covar=ridge, random_state=0).fit(acts.double().numpy())
    found = Mixture.fit(acts, 3, seed=0).log_prob(acts)
    np.testing.assert_allclose(found, expected.score_samples(acts.double().numpy()), rtol=1e-3)


def test_a_mixture_of_one_part_without_shrinkage_is_a_gaussian():
    acts = drawn(500, 0)
    one, other = Mixture.fit(acts, 1, shrinkage=0.0), Gaussian.fit(acts, shrinkage=0.0)
    torch.testing.assert_close(one.log_prob(acts), other.log_prob(acts), rtol=1e-4, atol=1e-3)


def test_vae_bound_is_below_the_exact_log_probability_and_close_to_it_where_that_is_known():
    # On Gaussian data with three strong directions the exact density is known.
    gen = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, D, generator=gen)
    acts = torch.randn(6000, 3, generator=gen) @ mixing * 2
    acts = acts + 0.5 * torch.randn(6000, D, generator=gen)
    covariance = 4 * mixing.T @ mixing + 0.25 * torch.eye(D)
    exact = stats.multivariate_normal(np.zeros(D), covariance.numpy()).logpdf(acts[:1000].numpy())
    found = Vae.fit(acts[1000:], d_latent=3, n_steps=500).log_prob(acts[:1000]).numpy()
    blunt = Gaussian.fit(acts[1000:], shrinkage=1.0).log_prob(acts[:1000]).numpy()
    assert found.mean() < exact.mean() + 0.02
    assert exact.mean() - found.mean() < 0.2 < (exact.mean() - blunt.mean()) / 5


def test_mixture_and_vae_fit_curved_groups_better_than_a_gaussian():
    fresh = drawn(500, 2)
    means = {name: float(fit(drawn(2000, 0)).log_prob(fresh).mean()) for name, fit in FITS.items()}
    assert means["mixture"] > means["gaussian"] + 1 and means["vae"] > means["gaussian"] + 1


def test_percentiles_of_further_real_activations_are_uniform(density):
    found = density.percentile(drawn(400, 3)).numpy()
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0 < found.min() and found.max() < 1


def test_percentiles_of_other_activations_are_near_one(density):
    shifted = density.percentile(drawn(400, 3, shift=10.0))
    assert stats.kstest(shifted.numpy(), "uniform").pvalue < 1e-6
    assert shifted.median() > 0.99


def test_a_share_of_real_activations_passes_the_threshold(density):
    passed = density.log_prob(drawn(2000, 4)) >= density.threshold(0.9)
    assert passed.float().mean() == pytest.approx(0.9, abs=0.04)


def test_whitened_activations_have_unit_covariance():
    acts = drawn(2000, 0)
    density = Gaussian.fit(acts, shrinkage=0.0)
    white = density.whiten(acts)
    torch.testing.assert_close(white.mean(0), torch.zeros(D), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(D), atol=2e-3, rtol=0)
    assert (torch.cov(acts.T) - torch.eye(D)).abs().max() > 1
    torch.testing.assert_close(density.unwhiten(white), acts, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(density.distance(acts), white.norm(dim=-1))


def test_log_probability_has_the_right_gradient(density):
    acts = drawn(3, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(acts).sum(), acts)
    step = 1e-2 * torch.nn.functional.normalize(gradient, dim=-1)
    with torch.no_grad():
        rise = density.log_prob(acts + step) - density.log_prob(acts - step)
    torch.testing.assert_close(rise, 2 * (gradient * step).sum(-1), rtol=0.05, atol=1e-2)


def test_constrained_edits_stop_at_the_threshold_and_short_ones_pass(density):
    acts = drawn(50, 6)
    gen = torch.Generator().manual_seed(7)
    far = 40 * torch.randn(50, D, generator=gen)
    floor = density.log_prob(acts).clamp(max=density.threshold(0.95))
    assert (density.log_prob(acts + far) < floor).all()
    kept = density.constrain(acts, far)
    reached = density.log_prob(acts + kept)
    slack = 2e-3 * floor.abs().clamp(min=1)
    assert (reached >= floor - slack).all()
    usual = density.log_prob(acts) > density.threshold(0.95) + 1
    assert (reached - floor)[usual].abs().max() < 0.05, "they did not go as far as they may"
    short = 1e-4 * far
    passed = (density.constrain(acts, short) == short).all(-1)
    assert passed[usual].all()
    cosine = torch.nn.functional.cosine_similarity(kept, far, dim=-1)
    assert (cosine[kept.norm(dim=-1) > 0] > 0.9999).all()


def test_an_unusual_activation_may_move_back_but_not_further_out():
    density = Gaussian.fit(drawn(2000, 0)).calibrate(drawn(800, 1))
    out = density.mean.float() + 30 * torch.eye(D)[:1]
    assert density.percentile(out) > 0.99
    towards = density.mean.float()[None] - out
    torch.testing.assert_close(density.constrain(out, towards), towards)
    away = density.constrain(out, -towards)
    assert away.norm() < 0.02 * towards.norm()


def test_gaussian_constraint_in_closed_form_agrees_with_the_search():
    density = Gaussian.fit(drawn(2000, 0)).calibrate(drawn(800, 1))
    acts, gen = drawn(200, 6), torch.Generator().manual_seed(7)
    edit = 15 * torch.randn(200, D, generator=gen)
    threshold = density.threshold(0.95)
    closed = density._largest_scale(acts, edit, threshold)
    searched = super(Gaussian, density)._largest_scale(acts, edit, threshold)
    usual = density.log_prob(acts) > threshold + 0.5
    assert 0.02 < closed[usual].min() and closed[usual].std() > 0.01
    torch.testing.assert_close(closed[usual], searched[usual], atol=2e-3, rtol=0)


def test_a_saved_density_is_the_same(density, tmp_path):
    path = tmp_path / "folder" / "density.safetensors"
    save(density, path, {"model": "tiny", "layer": 3})
    again, provenance = load(path)
    acts = drawn(50, 8)
    assert type(again) is type(density) and provenance == {"model": "tiny", "layer": 3}
    torch.testing.assert_close(again.log_prob(acts), density.log_prob(acts))
    torch.testing.assert_close(again.percentile(acts), density.percentile(acts))
    torch.testing.assert_close(again.whiten(acts), density.whiten(acts))


def test_fits_do_not_touch_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = (FITS["vae"](drawn(300, 0)) for _ in range(2))
    assert torch.rand(1) == expected
    acts = drawn(20, 1)
    torch.testing.assert_close(first.log_prob(acts), second.log_prob(acts), rtol=0, atol=0)


def test_a_file_that_is_no_density_is_an_error(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("text", "absent"):
        with pytest.raises(SettingError, match="expected a density written by"):
            load(tmp_path / f"{name}.safetensors")


def test_a_density_without_held_out_activations_has_no_percentile():
    with pytest.raises(SettingError, match="expected a calibrated density"):
        Gaussian.fit(drawn(50, 0)).percentile(drawn(2, 1))


def test_bad_settings_are_errors(monkeypatch):
    density = Gaussian.fit(drawn(50, 0))
    with pytest.raises(SettingError, match="at least two held-out activations"):
        density.calibrate(drawn(1, 1))
    with pytest.raises(SettingError, match="expected a quantile between 0 and 1"):
        density.calibrate(drawn(9, 1)).threshold(1.0)
    with pytest.raises(SettingError, match="expected between 1 and 25 parts"):
        Mixture.fit(drawn(50, 0), 26)
    with pytest.raises(SettingError, match="expected sizes and steps of at least 1"):
        Vae.fit(drawn(50, 0), d_latent=0)
    with pytest.raises(SettingError, match="expected a positive definite covariance"):
        Gaussian.fit(drawn(3, 0), shrinkage=0.0)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.mixture", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unmask\[manifold\]'"):
        Mixture.fit(drawn(50, 0), 2)
