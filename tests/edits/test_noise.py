"""Residual noise: its distribution, its size, and what each draw is a function of."""

import dataclasses

import numpy as np
import pytest
import torch

from unmask.edits import ResidualNoise, Site, Tokens
from unmask.errors import SettingError

D = 48


def tokens(keys=(5, 6, 5), lengths=(7, 4, 7), n_prompt=(3, 2, 3)) -> Tokens:
    longest = max(lengths)
    pos = torch.arange(longest)[None] - (longest - torch.tensor(lengths))[:, None]
    return Tokens(torch.tensor(keys), pos, torch.tensor(n_prompt))


def stream(of: Tokens, seed: int = 0) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(0.5, 20, of.pos.shape[1])[:, None]
    return torch.randn(*of.pos.shape, D, generator=gen) * sizes


def drawn(edit: ResidualNoise, of: Tokens) -> torch.Tensor:
    """The noise itself: with size='absolute' and acts of zero nothing is rounded away."""
    return dataclasses.replace(edit, size="absolute").apply(torch.zeros(*of.pos.shape, D), of)


NOISE = ResidualNoise(Site(1), 1.0, seed=3)
ROOT = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(1)))[0] * (
    torch.linspace(0.2, 1.6, D)
)
KINDS = {
    "isotropic": NOISE,
    "covariance": dataclasses.replace(NOISE, kind="covariance", root=ROOT),
    "positive": dataclasses.replace(NOISE, kind="positive"),
}


@pytest.mark.parametrize("fresh", ["token", "sequence", "run"])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_depends_on_key_and_position_only(kind, fresh):
    edit = dataclasses.replace(KINDS[kind], fresh=fresh)
    found = drawn(edit, tokens())
    assert torch.equal(found[0], found[2])  # equal keys, equal noise
    # A matrix product may round otherwise in another shape; everything else is bit-equal.
    tolerance = 1e-5 if kind == "covariance" else 0.0

    def same(one, other):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)

    alone = drawn(edit, tokens((6,), (4,), (2,)))
    same(alone[0], found[1, 3:])  # other batch, no padding
    same(drawn(edit, tokens((6, 5, 5), (4, 7, 7), (2, 3, 3)))[[1, 0, 2]], found)  # other order
    wide = drawn(edit, tokens((5, 6, 5, 1), (7, 4, 7, 12), (3, 2, 3, 1)))
    same(wide[:3, 5:], found)  # more padding
    for at in range(7):  # one column at a time, as in generation
        whole = tokens()
        same(drawn(edit, whole.columns(at, at + 1)), found[:, at : at + 1])
    assert not found[1, :3].any()  # padding


def test_noise_differs_between_keys_positions_layers_streams_and_seeds():
    def one(edit=NOISE, key=5):
        return drawn(edit, tokens((key,), (400,), (3,)))[0]

    base = one()
    others = {
        "key": one(key=6),
        "position": base.roll(1, 0),
        "seed": one(dataclasses.replace(NOISE, seed=4)),
        "layer": one(dataclasses.replace(NOISE, site=Site(2))),
        "stream": one(dataclasses.replace(NOISE, site=Site(1, "attn_out"))),
    }
    for name, other in others.items():
        r = np.corrcoef(base.flatten(), other.flatten())[0, 1]
        assert abs(r) < 4 / base.numel() ** 0.5, name
    assert torch.equal(
        one(dataclasses.replace(NOISE, site=Site(1, positions="prompt")))[:3], base[:3]
    )


def test_fresh_per_token_sequence_and_run():
    def of(fresh):
        found = drawn(dataclasses.replace(NOISE, fresh=fresh), tokens((5, 6), (4, 4), (2, 2)))
        return found, len({tuple(row.tolist()) for row in found.flatten(0, 1)})

    assert of("token")[1] == 8
    found, n = of("sequence")
    assert n == 2 and torch.equal(found[0, 0], found[0, 3])
    assert of("run")[1] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_relative_noise_is_scaled_to_each_token(kind):
    of = tokens((1,), (3000,), (3,))
    acts = stream(of)
    edit = dataclasses.replace(KINDS[kind], scale=0.3)
    noise = edit.apply(acts, of) - acts
    ratio = noise.square().mean(-1).sqrt() / acts.square().mean(-1).sqrt()
    assert ratio.mean() == pytest.approx(0.3, rel=0.02)
    absolute = dataclasses.replace(edit, size="absolute").apply(acts, of) - acts
    assert absolute.square().mean().sqrt() == pytest.approx(0.3, rel=0.02)
    half, three = absolute[:, :1500].square().mean(), absolute[:, 1500:].square().mean()
    assert half / three == pytest.approx(1, rel=0.05)  # although the stream grows


def test_isotropic_noise_is_white():
    z = drawn(NOISE, tokens((1,), (6000,), (3,)))[0].double().numpy()
    assert np.abs(np.cov(z.T) - np.eye(D)).max() < 5 * (2 / 6000) ** 0.5
    assert np.abs(z.mean(0)).max() < 5 / 6000**0.5


def test_covariance_noise_has_the_given_covariance():
    z = drawn(KINDS["covariance"], tokens((1,), (6000,), (3,)))[0].double().numpy()
    expected = (ROOT @ ROOT.T).double().numpy()
    assert np.abs(expected - np.eye(D)).max() > 0.3  # it is not white
    assert np.abs(np.cov(z.T) - expected).max() < 6 * 2.6 * (2 / 6000) ** 0.5


def test_positive_noise_is_one_positive_direction_of_unit_mean_square():
    edit = dataclasses.replace(KINDS["positive"], fresh="run")
    found = drawn(edit, tokens((5, 6), (4, 4), (2, 2)))
    assert (found > 0).all()
    assert torch.equal(found, found[:1, :1].expand_as(found))
    assert found[0, 0].square().mean() == pytest.approx(1, abs=1e-6)
    assert found[0, 0].std() > 0.3  # uniform, not constant


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_noise_keeps_the_dtype_and_rounds_once(dtype):
    of = tokens()
    acts = stream(of).to(dtype)
    kept = acts.clone()
    edited = NOISE.apply(acts, of)
    assert edited.dtype == dtype
    assert torch.equal(acts, kept)
    real = of.pos >= 0
    assert not torch.equal(edited[real], acts[real])
    assert torch.equal(dataclasses.replace(NOISE, scale=0.0).apply(acts, of), acts)
    exact = acts.double() + acts.double().square().mean(-1, keepdim=True).sqrt() * drawn(NOISE, of)
    error = (edited.double() - exact).abs() / exact.abs().clamp(min=1e-3)
    assert error[real].max() < max(torch.finfo(dtype).eps, 1e-4)


def test_noise_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    for edit in KINDS.values():
        edit.apply(stream(tokens()), tokens())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_an_error(scale):
    with pytest.raises(SettingError, match="expected a finite noise scale of at least 0, got"):
        ResidualNoise(Site(0), scale, seed=0)


def test_a_root_is_given_exactly_for_covariance_noise():
    with pytest.raises(SettingError, match="got kind='covariance' and no root. Fit one with"):
        ResidualNoise(Site(0), 1.0, seed=0, kind="covariance")
    with pytest.raises(SettingError, match="got kind='isotropic' and a root"):
        ResidualNoise(Site(0), 1.0, seed=0, root=torch.eye(4))
