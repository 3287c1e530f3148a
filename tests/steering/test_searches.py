"""The searches find what the published code finds, and what theorems say."""

import numpy as np
import published
import pytest
import torch
from tiny import subject

from unmask.errors import SettingError
from unmask.models.batch import TokenRow
from unmask.steering import Dct, Melbo, PowerSteering, Response, dct_radius, random_units
from unmask.steering.dct import mixed_derivatives, second_derivatives
from unmask.steering.spheres import completed, nearest_orthonormal, orthonormal

SOURCE, TARGET, RADIUS = 1, 2, 1.5
PROMPTS = ((40, 41, 42, 43, 44, 45), (60, 61, 62, 63), (70, 75, 71, 76, 72))


@pytest.fixture(scope="module")
def llama():
    return subject("llama")


def respond(llama, **options) -> Response:
    return Response(llama, [TokenRow(ids) for ids in PROMPTS], SOURCE, TARGET, **options)


def whole(llama, vectors, n_read=3):
    """Reference: the changes prompt by prompt, by the whole model."""
    changes = []
    for ids in PROMPTS:
        before = published.hidden_at(llama.model, ids, TARGET, SOURCE, None)
        after = [published.hidden_at(llama.model, ids, TARGET, SOURCE, v) for v in vectors]
        changes.append(torch.stack([(one - before)[-n_read:] for one in after]))
    return torch.stack(changes, dim=1)


def cosines(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def test_the_response_is_that_of_the_whole_model(llama):
    response = respond(llama)
    vectors = RADIUS * random_units(5, 32, 0, response.device)
    with torch.no_grad():
        expected = whole(llama, vectors)
        torch.testing.assert_close(response(vectors), expected, rtol=0, atol=1e-4)
        mean = expected.mean(2).mean(1)
        torch.testing.assert_close(response.mean_of(vectors), mean, rtol=0, atol=1e-4)
    assert expected.abs().max() > 0.1
    size = expected.square().sum(-1).mean((1, 2)).sqrt()
    torch.testing.assert_close(response.size_of(vectors), size, rtol=1e-4, atol=0)


def test_the_response_does_not_depend_on_how_many_vectors_go_together(llama):
    response = respond(llama)
    vectors = RADIUS * random_units(5, 32, 0, response.device)
    together = response.gradients(vectors, lambda changes, _: changes.square().sum((1, 2, 3)))
    response.at_once = 2
    apart = response.gradients(vectors, lambda changes, _: changes.square().sum((1, 2, 3)))
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_only_the_positions_asked_for_are_changed(llama):
    response = respond(llama, positions="last", n_read=None)
    vectors = RADIUS * random_units(2, 32, 0, response.device)
    changes = response(vectors)
    assert changes.shape[2] == 1  # nothing before the last token can change
    assert response.entering.shape == (3, 32)
    assert changes.abs().sum() > 0.1


def test_coordinates_are_turned_into_what_is_added(llama):
    basis = torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    plain, based = respond(llama), respond(llama, basis=basis)
    vectors = random_units(2, 32, 0, plain.device)
    with torch.no_grad():
        torch.testing.assert_close(based(vectors), plain(vectors @ basis), rtol=1e-4, atol=1e-4)
        assert (based(vectors) - plain(vectors)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("p", "q", "over", "apart"),
    [
        (2.0, 2.0, "stream", "no"),
        (2.0, 1.0, "stream", "no"),
        (4.0, 4.0, "stream", "in turn"),
        (4.0, 4.0, "tokens", "in turn"),
    ],
)
def test_melbo_finds_the_published_vectors(llama, p, q, over, apart):
    search = Melbo(
        n_vectors=3, n_steps=12, p=p, q=q, norm_over=over, apart=apart, learning_rate=0.02
    )
    found = search(respond(llama), RADIUS)
    starts = random_units(3, 32, 0, found.device)
    expected = published.melbo(
        llama.model, PROMPTS, SOURCE, TARGET, RADIUS, starts, 12, 0.02, 3, p, q, over,
        apart == "in turn",
    )  # fmt: skip
    assert cosines(found, expected).min() > 0.9999
    assert cosines(found, starts).max() < 0.99  # the search moved
    torch.testing.assert_close(found.norm(dim=-1), torch.full((3,), RADIUS))


def test_the_published_norm_is_another_one_for_p_4(llama):
    kept = {
        over: Melbo(n_vectors=2, n_steps=12, p=4.0, norm_over=over, learning_rate=0.02)(
            respond(llama), RADIUS
        )
        for over in ("stream", "tokens")
    }
    assert cosines(*kept.values()).max() < 0.9999


@pytest.mark.parametrize("apart", ["in turn", "together"])
def test_orthogonal_vectors_are_orthogonal(llama, apart):
    found = Melbo(n_vectors=6, n_steps=5, apart=apart)(respond(llama), RADIUS) / RADIUS
    torch.testing.assert_close(found @ found.T, torch.eye(6), rtol=0, atol=1e-5)


def test_melbo_changes_more_than_its_starting_points(llama):
    response = respond(llama)
    found = Melbo(n_vectors=8, n_steps=30)(response, RADIUS)
    start = RADIUS * random_units(8, 32, 0, found.device)
    assert (response.size_of(found) > 1.2 * response.size_of(start)).all()


def jacobian(llama) -> torch.Tensor:
    """Of the mean change at 0, by the whole model: output by input."""
    change = published.delta(llama.model, PROMPTS, SOURCE, TARGET, 3)
    return torch.autograd.functional.jacobian(change, torch.zeros(32))


def test_linear_dct_gives_the_singular_vectors_of_the_jacobian(llama):
    response = respond(llama)
    found = Dct("linear", n_factors=32, n_projections=0)._linear(response)
    expected = torch.linalg.svd(jacobian(llama)).Vh
    assert cosines(found, expected).abs()[:8].min() > 0.999


def test_the_derivative_along_a_vector_is_the_jacobians(llama):
    vectors = random_units(4, 32, 3, torch.device("cpu"))
    expected = vectors @ jacobian(llama).T
    torch.testing.assert_close(respond(llama).linear_mean(vectors), expected, rtol=1e-3, atol=1e-4)


def test_second_derivatives_are_those_of_the_whole_model(llama):
    change = published.delta(llama.model, PROMPTS, SOURCE, TARGET, 3)
    vectors = random_units(2, 32, 3, torch.device("cpu"))
    outputs = random_units(2, 32, 4, torch.device("cpu"))
    response = respond(llama)
    found, mixed = (
        second_derivatives(response, vectors),
        mixed_derivatives(response, vectors, outputs),
    )
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for v, u, second, mixed_one in zip(vectors, outputs, found, mixed, strict=True):
            hessian = torch.autograd.functional.hessian(
                lambda t, u=u: change(t) @ u, torch.zeros(32)
            )
            assert hessian.abs().max() > 0.01
            torch.testing.assert_close(second @ u, v @ hessian @ v, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(mixed_one, hessian @ v, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("beta", [1.0, 0.7])
def test_exponential_dct_follows_the_published_iteration(llama, beta):
    response = respond(llama)
    search = Dct(n_factors=4, n_steps=6, beta=beta)
    inputs = search._linear(response)
    outputs = torch.nn.functional.normalize(response.mean_of(RADIUS * inputs), dim=-1)
    found, _ = search._exponential(response, RADIUS, inputs, outputs)
    change = published.delta(llama.model, PROMPTS, SOURCE, TARGET, 3)
    expected, _ = published.exponential_dct(change, RADIUS, inputs.T, outputs.T, 6, beta)
    assert cosines(found, expected.T).min() > 0.9999
    assert cosines(found, inputs).abs().min() < 0.99  # the iteration moved


@pytest.mark.parametrize("kind", ["linear", "quadratic", "exponential"])
def test_factors_come_best_first_and_have_their_length(llama, kind):
    response = respond(llama)
    search = Dct(kind, n_factors=5, n_steps=4)
    factors = search.factors(response, RADIUS)
    assert (factors.scores.diff() <= 0).all()
    torch.testing.assert_close(search(response, RADIUS).norm(dim=-1), torch.full((5,), RADIUS))


def test_exponential_factors_respond_more_than_linear_ones_at_their_radius(llama):
    response = respond(llama)
    mean = {
        kind: response.mean_of(Dct(kind, n_factors=4)(response, 4.0)).norm(dim=-1).mean()
        for kind in ("linear", "exponential")
    }
    assert mean["exponential"] > mean["linear"]


def test_power_steering_gives_singular_vectors(llama):
    jacobians = []
    for ids in PROMPTS:
        with torch.no_grad():
            before = published.hidden_at(llama.model, ids, TARGET, SOURCE, None)

        def change(theta, ids=ids, before=before):
            return (published.hidden_at(llama.model, ids, TARGET, SOURCE, theta) - before)[-3:]

        jacobians.append(torch.autograd.functional.jacobian(change, torch.zeros(32)).flatten(0, 1))
    _, values, expected = torch.linalg.svd(torch.cat(jacobians), full_matrices=False)
    found, sigma = PowerSteering(n_vectors=3, n_steps=60).singular(respond(llama))
    torch.testing.assert_close(sigma, values[:3], rtol=1e-2, atol=0)
    assert cosines(found[:2], expected[:2]).abs().min() > 0.98


def test_at_the_dct_radius_the_rest_is_half_of_the_linear_part(llama):
    response = respond(llama)
    radius = dct_radius(response, seed=3)
    change = published.delta(llama.model, PROMPTS, SOURCE, TARGET, 3)
    j = jacobian(llama)
    ratios = []
    for v in random_units(30, 32, 3, response.device):
        with torch.no_grad():
            rest = change(radius * v) - radius * j @ v
        ratios.append(float(rest.square().sum() / (radius * j @ v).square().sum()))
    assert np.sqrt(np.mean(ratios)) == pytest.approx(0.5, rel=0.02)


def test_a_constraint_acts_on_each_token(llama):
    seen = []

    def half(acts, edit):
        seen.append((acts, edit))
        return edit / 2

    vectors = random_units(2, 32, 0, torch.device("cpu"))
    with torch.no_grad():
        found = respond(llama, constraint=half)(2 * vectors)
        torch.testing.assert_close(found, respond(llama)(vectors))
    assert seen[0][0].shape == seen[0][1].shape == (2, 3, 6, 32)


def test_sets_of_directions():
    vectors = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    for some in (
        orthonormal(vectors),
        nearest_orthonormal(vectors),
        completed(orthonormal(vectors), 7, 0),
    ):
        eye = torch.eye(len(some))
        torch.testing.assert_close(some @ some.T, eye, rtol=0, atol=1e-5)
    assert cosines(orthonormal(vectors)[0], vectors[0]) > 0.9999
    near = (nearest_orthonormal(vectors) - vectors).norm()
    assert near < (orthonormal(vectors) - vectors).norm()
    assert torch.equal(
        random_units(2, 9, 5, vectors.device), random_units(3, 9, 5, vectors.device)[:2]
    )
    assert not torch.equal(*(random_units(2, 9, seed, vectors.device) for seed in (5, 6)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: Melbo(n_steps=0), "at least one vector, one step"),
        (lambda r: Melbo()(r, 0.0), "radius above 0, got 0.0"),
        (lambda r: Melbo(n_vectors=33, apart="together")(r, 1.0), "at most 32 orthogonal vectors"),
        (lambda r: Dct(beta=0.0), "0 < beta <= 1"),
        (lambda r: Dct(n_factors=33)(r, 1.0), "at most 32 factors"),
        (lambda r: PowerSteering(n_steps=0), "one vector and one step"),
        (lambda r: PowerSteering(n_vectors=33)(r, 1.0), "at most 32 vectors"),
        (lambda r: dct_radius(r, ratio=1e9), "the response's non-linear part is 1000000000.0"),
        (lambda r: Response(r.subject, [], 1, 2), "at least one prompt"),
        (lambda r: Response(r.subject, [TokenRow((1,))], 1, 2, n_read=0), "one token to read"),
        (lambda r: Response(r.subject, [TokenRow((1,))], 2, 2), "blocks start < stop"),
    ],
)
def test_bad_settings_are_named(llama, make, message):
    response = respond(llama)
    with pytest.raises(SettingError, match=message):
        make(response)
