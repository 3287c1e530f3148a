"""The covariance of a stream against numpy, and noise that has it."""

import numpy as np
import pytest
import torch
from tiny import build, subject, tokenizer

from unmask.edits import NO_EDIT, ResidualNoise, Site
from unmask.errors import SettingError
from unmask.models import Row
from unmask.models.batch import TokenRow
from unmask.models.covariance import covariance_root
from unmask.models.passes import Needs, clean
from unmask.models.subject import Subject

TEXTS = ["Which letter?", "Say the rest: one two three", "A and B", "x" * 100]


def activations(s: Subject, layer: int) -> np.ndarray:
    """What enters a block at every token but each text's first, one text at a time."""
    found = []
    for text in TEXTS:
        batch = next(s.batches([TokenRow(s.encode(text))]))
        found.append(clean(s.decoder, batch, Needs({layer: 0})).resid[layer][0, 1:])
    return torch.cat(found).double().numpy()


@pytest.mark.parametrize("tokens_per_batch", [40, 4096])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_root_is_that_of_numpy_s_covariance(family, tokens_per_batch):
    s = Subject(build(family), tokenizer(), tokens_per_batch=tokens_per_batch)
    expected = np.cov(activations(s, 2).T)
    expected /= np.trace(expected) / s.d_model
    assert np.abs(expected - np.eye(s.d_model)).max() > 0.3
    for shrinkage in (0.0, 0.1, 1.0):
        root = covariance_root(s, TEXTS, Site(1, "resid_post"), shrinkage).double().numpy()
        shape = (1 - shrinkage) * expected + shrinkage * np.eye(s.d_model)
        np.testing.assert_allclose(root @ root.T, shape, atol=1e-4)
        np.testing.assert_allclose(root, root.T, atol=1e-6)
        assert np.trace(root @ root.T) == pytest.approx(s.d_model, rel=1e-5)
    np.testing.assert_allclose(
        covariance_root(s, TEXTS, Site(2, "resid_pre")),
        covariance_root(s, TEXTS, Site(1, "resid_post")),
        atol=1e-6,
    )


def test_the_root_can_be_used_as_noise():
    s = subject()
    root = covariance_root(s, TEXTS, Site(1))
    edit = ResidualNoise(Site(1), 0.5, seed=1, kind="covariance", root=root)
    plain, noisy = s.choices_under([Row("Which letter?", ("A", "B"))], [NO_EDIT, edit])
    assert abs(plain[0].log_probs[0] - noisy[0].log_probs[0]) > 1e-3


def test_it_leaves_no_hook_and_the_global_generator_alone():
    s = subject()
    state = torch.get_rng_state()
    covariance_root(s, TEXTS, Site(0, "mlp_out"))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in s.model.modules())


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, float("nan")])
def test_shrinkage_out_of_range_is_an_error(shrinkage):
    with pytest.raises(SettingError, match="expected a shrinkage between 0 and 1, got"):
        covariance_root(subject(), TEXTS, Site(0), shrinkage)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "expected activations, got none"),
        (["A"], "expected activations, got none"),
        (["AB"], "expected activations that vary, got a mean variance of 0 over 1 tokens"),
    ],
)
def test_too_little_text_is_an_error(texts, message):
    with pytest.raises(SettingError, match=message):
        covariance_root(subject(), texts, Site(1))
