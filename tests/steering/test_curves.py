"""Response curves, against the whole model run at each point."""

import numpy as np
import pytest
import torch
from tiny import subject

from unmask import steering
from unmask.edits import Site
from unmask.errors import SettingError
from unmask.models.activations import activations
from unmask.models.batch import TokenRow

LAYER = 1
PROMPTS = [
    TokenRow(ids) for ids in ((40, 41, 42), (60, 61, 62, 63, 64), (7, 8, 9, 10), (99, 98, 97))
]


@pytest.fixture(scope="module")
def llama():
    return subject("llama")


def run(llama, ids, shift):
    """Reference: the model's own pass with the last token's stream shifted before a block."""

    def before(_, args, kwargs):
        hidden = args[0].clone()
        hidden[:, -1] += shift
        return (hidden, *args[1:]), kwargs

    handle = llama.model.model.layers[LAYER].register_forward_pre_hook(before, with_kwargs=True)
    caught = []
    last = llama.model.model.layers[-1].register_forward_hook(lambda _, __, out: caught.append(out))
    try:
        with torch.no_grad():
            logits = llama.model(torch.tensor([ids])).logits[0, -1].double()
    finally:
        handle.remove()
        last.remove()
    out = caught[0] if isinstance(caught[0], torch.Tensor) else caught[0][0]
    return logits.log_softmax(-1), out[0, -1].double()


def test_activations_are_the_models_own(llama):
    found = activations(llama, PROMPTS, Site(LAYER, "resid_pre"), first=1)
    for row, mine in zip(PROMPTS, found, strict=True):
        with torch.no_grad():
            out = llama.model(torch.tensor([row.prompt]), output_hidden_states=True)
        torch.testing.assert_close(mine, out.hidden_states[LAYER][0, 1:], rtol=0, atol=1e-5)


def test_curves_are_those_of_the_whole_model(llama):
    acts = steering.last_activations(llama, PROMPTS, LAYER)
    paths = steering.towards_others(acts, 2)
    lengths = paths.norm(dim=-1)
    both = {"others": paths, "isotropic": steering.isotropic(acts, lengths)}
    curves = steering.measure_curves(llama, PROMPTS, LAYER, both, n_alphas=5)
    for kind, ways in both.items():
        np.testing.assert_allclose(curves.lengths[kind], ways.norm(dim=-1), rtol=1e-5)
        for i, row in enumerate(PROMPTS):
            p, before = run(llama, row.prompt, 0.0)
            for j, way in enumerate(ways[i]):
                for k, alpha in enumerate(curves.alphas):
                    q, after = run(llama, row.prompt, float(alpha) * way)
                    kl = float((p.exp() * (p - q)).sum())
                    m = ((p.exp() + q.exp()) / 2).log()
                    js = ((p.exp() * (p - m)).sum() + (q.exp() * (q - m)).sum()) / 2
                    expected = {
                        "kl": kl,
                        "js": float((js / np.log(2)).clamp(min=0).sqrt()),
                        "l2": float((after - before).norm()),
                    }
                    for read_out, value in expected.items():
                        got = curves.responses[read_out][kind][i, j, k]
                        assert got == pytest.approx(value, rel=2e-3, abs=2e-4), (kind, read_out)
    assert curves.responses["kl"]["others"][..., -1].max() > 0.01


def test_the_way_towards_another_prompt_ends_at_its_activation(llama):
    acts = steering.last_activations(llama, PROMPTS, LAYER)
    ends = acts[:, None] + steering.towards_others(acts, 3)
    for number, mine in enumerate(ends):
        others = torch.cat([acts[:number], acts[number + 1 :]])
        distances = torch.cdist(mine, others)
        assert (distances.min(1).values < 1e-5).all()
        assert distances.argmin(1).unique().numel() == 3  # without replacement


def test_controls_have_the_lengths_asked_for(llama):
    acts = steering.last_activations(llama, PROMPTS, LAYER)
    lengths = torch.rand(4, 2) + 1
    samples = torch.randn(8, 32)
    for ways in (
        steering.isotropic(acts, lengths),
        steering.along(torch.randn(2, 32), lengths),
        steering.towards_samples(acts, samples, lengths),
    ):
        torch.testing.assert_close(ways.norm(dim=-1), lengths)
    towards = steering.towards_samples(acts, samples, lengths)
    expected = samples.unflatten(0, (4, 2)) - acts[:, None]
    assert torch.nn.functional.cosine_similarity(towards, expected, dim=-1).min() > 0.9999


def test_the_summary_has_intervals_over_prompts(llama):
    acts = steering.last_activations(llama, PROMPTS, LAYER)
    curves = steering.measure_curves(
        llama, PROMPTS, LAYER, {"others": steering.towards_others(acts, 2)}, n_alphas=9
    )
    for value, interval in curves.summary("l2", "others").values():
        assert interval.low <= value <= interval.high
    radius = steering.plateau_radius(curves)
    assert 0 < radius < curves.lengths["others"].max()


def test_mixing_powers_are_those_of_the_whole_model(llama):
    directions = steering.random_units(2, 32, 0, torch.device("cpu"))
    first, second = directions
    second = second - (second @ first) * first
    second = second / second.norm()
    angles = np.linspace(0, np.pi / 2, 9)
    responses = []
    for angle in angles:
        vector = 2.0 * (np.cos(angle) * first + np.sin(angle) * second).float()
        moved = [run(llama, r.prompt, vector)[1] - run(llama, r.prompt, 0.0)[1] for r in PROMPTS]
        responses.append(np.mean([float(one.norm()) for one in moved]))
    from unmask import stats

    expected = stats.mixing_power(angles, np.array(responses))
    found = steering.mixing_powers(llama, PROMPTS, LAYER, directions, 2.0)
    assert found == pytest.approx([expected], rel=1e-2)


def test_bad_input_is_named(llama):
    acts = steering.last_activations(llama, PROMPTS, LAYER)
    with pytest.raises(SettingError, match="at least 4 prompts that differ"):
        steering.towards_others(acts, 4)
    paths = {"others": steering.towards_others(acts, 1)}
    with pytest.raises(SettingError, match="at least 3 points"):
        steering.measure_curves(llama, PROMPTS, LAYER, paths, n_alphas=2)
    nowhere = steering.Curves(
        LAYER,
        np.linspace(0, 1, 5),
        {"others": np.ones((4, 1))},
        {"l2": {"others": np.zeros((4, 1, 5))}},
    )
    with pytest.raises(SettingError, match="respond at their end"):
        steering.plateau_radius(nowhere)
