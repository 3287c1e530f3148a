"""Bounds on searches: what is added stays within them, in the search and in the edit alike."""

import pytest
import torch
from tiny import subject

from unmask.edits import Constrained
from unmask.errors import SettingError
from unmask.models import Row
from unmask.models.batch import TokenRow
from unmask.steering import Bound, Melbo, Response, fit_density, random_units

TEXTS = ["Which letter is it?", "Say the rest: one two three", "A and B and C", "x" * 60, "Ab" * 30]


@pytest.fixture(scope="module")
def model():
    return subject("llama")


@pytest.fixture(scope="module")
def rows(model):
    return [TokenRow(model.encode(text), key=number) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def density(model, rows):
    return fit_density(model, rows, 1)


def test_the_density_is_fitted_and_calibrated_on_different_rows(model, rows, density):
    n_held_out = len(rows[0].prompt) - 1
    assert len(density.held_out) == n_held_out
    own = Response(model, rows[1:], 1, 2).entering
    assert density.percentile(own).median() < 0.9
    strange = density.percentile(own + 50 * own.std())
    assert strange.min() > 0.9


def test_random_coordinates_have_the_length_asked_for_on_average(model, rows, density):
    for within in ("l2", "whitened"):
        bound = Bound(within, density)
        response = bound.response(model, rows, 1, 2)
        units = random_units(4000, model.d_model, 0, response.device)
        added = response.added(bound.radius(3.0) * units)
        assert float(added.square().sum(-1).mean().sqrt()) == pytest.approx(3.0, rel=0.05)
    spread = added.norm(dim=-1).std()
    assert spread > 0.01, "a whitened ball is no ball"


def test_vectors_of_a_whitened_search_have_equal_mahalanobis_length(model, rows, density):
    bound = Bound("whitened", density)
    response = bound.response(model, rows, 1, 2)
    radius = bound.radius(2.0)
    found = Melbo(n_vectors=4, n_steps=3)(response, radius)
    white = density.whiten(found) - density.whiten(torch.zeros_like(found))
    torch.testing.assert_close(white.norm(dim=-1), torch.full((4,), radius), rtol=1e-3, atol=0)
    assert found.norm(dim=-1).std() > 1e-3


def test_the_edit_adds_what_the_search_looked_at(model, rows, density):
    # A single prompt, so that the search and the edit run the same tokens.
    row = Row(TEXTS[0], ("A",))
    for within in ("l2", "density"):
        bound = Bound(within, density)
        response = bound.response(model, rows[:1], 1, 3, n_read=1)
        vector = 5 * random_units(1, model.d_model, 0, response.device)
        edit = bound.edit(1, vector[0])
        assert isinstance(edit, Constrained) == (within == "density")
        entering = response.entering
        with torch.no_grad():
            expected = response(vector)[0, 0, 0] + response._segment.leaving[0, -1]
            logits = model.decoder.logits(expected)
        ((choices,),) = model.choices_under([row], [edit])
        (option,) = model.continuation(TEXTS[0], "A")
        assert choices.log_probs[0] == pytest.approx(
            float(logits.log_softmax(-1)[option]), abs=1e-4
        )
        kept = (
            edit.constraint(entering, vector.expand_as(entering)) if within == "density" else None
        )
        assert kept is None or kept.norm(dim=-1).min() < 4.9, "the density never bound"


def test_an_unknown_bound_is_an_error(density):
    made = object.__new__(Bound)  # past the type checks of the tests
    vars(made).update(within="ball", density=density)
    with pytest.raises(SettingError, match="expected a bound of l2, whitened, density, got 'ball'"):
        made.__post_init__()
