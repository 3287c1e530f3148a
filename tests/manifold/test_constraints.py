"""Constraints on edits, and searches that run under them."""

import pytest
import torch
from tiny import subject

from unmask.edits import AddVector, Constrained, ResidualNoise, Site, Tokens
from unmask.errors import SettingError
from unmask.manifold import Gaussian, L2Ball, Moments, OnManifold, WhitenedBall, least_collateral
from unmask.models.batch import TokenRow
from unmask.steering import Melbo, Response

D = 6


@pytest.fixture
def acts():
    gen = torch.Generator().manual_seed(0)
    return torch.randn(400, D, generator=gen) * torch.tensor([9.0, 4, 2, 1, 1, 0.5]) + 5


def test_balls_shorten_what_is_too_long_and_leave_the_rest(acts):
    density = Gaussian.fit(acts, shrinkage=0.0)
    gen = torch.Generator().manual_seed(1)
    edit = torch.randn(400, D, generator=gen) * torch.logspace(-2, 2, 400)[:, None]
    balls = {
        L2Ball(3.0): lambda change: change.norm(dim=-1),
        WhitenedBall(density, 3.0): lambda change: (change @ density.covariance.float().inverse()
            * change).sum(-1).sqrt(),
    }  # fmt: skip
    for ball, length in balls.items():
        before, after = length(edit), length(ball(acts, edit))
        assert before.max() > 30 and before.min() < 0.3
        torch.testing.assert_close(after, before.clamp(max=3.0), rtol=1e-3, atol=1e-4)


def test_least_collateral_is_the_constrained_minimum(acts):
    moments = Moments.of(acts)
    gen = torch.Generator().manual_seed(2)
    readout = torch.randn(D, generator=gen, dtype=torch.float64)
    edit = least_collateral(moments.second_moment, readout, 2.0)

    def damage(change):
        return change @ moments.second_moment @ change

    assert float(readout @ edit) == pytest.approx(2.0)
    for _ in range(20):
        other = torch.randn(D, generator=gen, dtype=torch.float64)
        other = other - (other @ readout) / (readout @ readout) * readout  # keeps the read-out
        assert damage(edit + 0.1 * other) > damage(edit)
    assert damage(2.0 * readout / (readout @ readout)) > 1.1 * damage(edit)


def test_noise_can_be_kept_on_the_manifold():
    model = subject("llama")
    site = Site(1, "resid_pre")
    gen = torch.Generator().manual_seed(0)
    real = torch.randn(500, model.d_model, generator=gen)
    density = Gaussian.fit(real[:250]).calibrate(real[250:])
    noise = ResidualNoise(site, 50.0, seed=1)
    pos = torch.arange(7).expand(3, 7)
    tokens = Tokens(torch.arange(3), pos, torch.full((3,), 7))
    acts = real[:21].reshape(3, 7, -1)
    floor = density.log_prob(acts).clamp(max=density.threshold(0.95)) - 1e-2
    free, kept = (
        one.apply(acts, tokens) for one in (noise, Constrained(noise, OnManifold(density)))
    )
    assert (density.log_prob(free) < floor).all()
    assert (density.log_prob(kept) >= floor).all() and (kept != acts).any()


def test_constrained_vectors_stack_only_under_one_constraint():
    site = Site(1, "resid_pre")
    vectors = [AddVector(site, torch.full((4,), float(n))) for n in (1, 2)]
    ball = L2Ball(0.5)
    stacked = Constrained.stacked([Constrained(one, ball) for one in vectors])
    assert isinstance(stacked, Constrained) and stacked.constraint is ball
    different = [Constrained(one, L2Ball(0.5)) for one in vectors]
    assert Constrained.stacked(different) is None
    assert Constrained.stacked([Constrained(vectors[0], ball), vectors[1]]) is None


@pytest.mark.parametrize("kind", ["density", "whitened"])
def test_a_search_under_a_constraint_goes_to_its_border_and_not_beyond(kind):
    model = subject("llama")
    rows = [TokenRow(tuple(range(5 + n, 17 + n)), key=n) for n in range(3)]
    whole = Response(model, rows, 1, 2)
    gen = torch.Generator().manual_seed(0)
    spread = whole.entering.std(0)
    cloud = whole.entering.mean(0) + spread * torch.randn(600, model.d_model, generator=gen)
    density = Gaussian.fit(cloud[:300]).calibrate(cloud[300:])
    if kind == "density":
        constraint = OnManifold(density)

        def border(acts, vector):
            own = density.log_prob(acts)
            floor = own.clamp(max=density.threshold(0.95))
            return density.log_prob(acts + constraint(acts, vector.expand_as(acts))) - floor
    else:
        constraint = WhitenedBall(density, 1.0)

        def border(acts, vector):
            kept = constraint(acts, vector.expand_as(acts))
            return 1.0 - (density.whiten(acts + kept) - density.whiten(acts)).norm(dim=-1)

    far = 20 * float(whole.entering.norm(dim=-1).median())
    held = Response(model, rows, 1, 2, constraint=constraint)
    search = Melbo(n_vectors=3, n_steps=12)
    found = search(held, far)
    start = Melbo(n_vectors=3, n_steps=1, learning_rate=1e-9)(held, far)
    assert (search.score(held(found)) > 1.05 * search.score(held(start))).all(), "did not climb"
    for vector in found:
        distances = border(held.entering, vector)
        assert distances.min() > -0.05, "beyond the constraint"
        assert distances.max() < 0.05, "short of the constraint"
        free = density.log_prob(held.entering + vector)
        assert (free < density.threshold(0.95) - 10).all(), "the constraint never bound"


@pytest.mark.parametrize("radius", [0.0, -1.0, float("inf"), float("nan")])
def test_a_ball_without_a_radius_is_an_error(acts, radius):
    with pytest.raises(SettingError, match="expected a radius above 0"):
        L2Ball(radius)
    with pytest.raises(SettingError, match="expected a radius above 0"):
        WhitenedBall(Gaussian.fit(acts), radius)


def test_a_constraint_needs_a_calibrated_density(acts):
    with pytest.raises(SettingError, match="expected a calibrated density"):
        OnManifold(Gaussian.fit(acts))


def test_bad_read_outs_and_moments_are_errors(acts):
    with pytest.raises(SettingError, match="expected a read-out that is finite and not zero"):
        least_collateral(torch.eye(3), torch.zeros(3))
    with pytest.raises(SettingError, match="expected a positive definite second moment"):
        least_collateral(torch.zeros(3, 3), torch.ones(3))
