"""Keyed random numbers are good random numbers, and a pure function of their key."""

import numpy as np
import pytest
import torch
from scipy import stats

from unmask.edits.keyed import combine, keyed_normal, keyed_uniform, mix


def keys(n: int, start: int = 0) -> torch.Tensor:
    return combine(torch.tensor(start), torch.arange(n))


def test_mix_is_splitmix64():
    # First outputs of the reference implementation for the seeds 0 and 1234567.
    gamma = 0x9E3779B97F4A7C15
    for seed, expected in ((0, 0xE220A8397B1DCDAF), (1234567, 6457827717110365317)):
        state = (seed + gamma) % 2**64
        signed = state - 2**64 if state >= 2**63 else state
        assert mix(torch.tensor(signed)).item() % 2**64 == expected


def test_mix_is_a_bijection_with_avalanche():
    inputs = torch.randint(-(2**62), 2**62, (2000,), generator=torch.Generator().manual_seed(0))
    kept = inputs.clone()
    out = mix(inputs)
    assert torch.equal(inputs, kept)
    assert torch.equal(unmix(out), inputs)
    for bit in range(64):
        change = out ^ mix(inputs ^ (1 << bit if bit < 63 else -(2**63)))
        bits = np.unpackbits(change.numpy().view(np.uint8).reshape(len(inputs), 8), axis=1)
        assert abs(bits.mean() - 0.5) < 0.01  # 128,000 bits: 7 standard errors
        assert np.abs(bits.mean(0) - 0.5).max() < 0.06  # 5.4 standard errors


def unmix(x: torch.Tensor) -> torch.Tensor:
    """Invert `mix` step by step, in unsigned arithmetic."""
    mask = 2**64 - 1
    first, second = pow(0xBF58476D1CE4E5B9, -1, 2**64), pow(0x94D049BB133111EB, -1, 2**64)
    found = []
    for value in (v % 2**64 for v in x.tolist()):
        value ^= (value >> 31) ^ (value >> 62)
        value = value * second & mask
        value ^= (value >> 27) ^ (value >> 54)
        value = value * first & mask
        value ^= (value >> 30) ^ (value >> 60)
        found.append(value - 2**64 if value >= 2**63 else value)
    return torch.tensor(found)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_normals_are_normal(n):
    z = keyed_normal(keys(20000 // n), n).flatten().double().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(z.mean()) < 4 / len(z) ** 0.5
    assert abs(z.var() - 1) < 4 * (2 / len(z)) ** 0.5
    assert abs((z**3).mean()) < 4 * (15 / len(z)) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / len(z)) ** 0.5
    assert np.abs(z).max() < 6.8


def test_uniforms_are_uniform():
    u = keyed_uniform(keys(1000), 33).flatten().double().numpy()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert u.min() > 0 and u.max() <= 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(keyed_normal(keys(400), 50), keyed_normal(keys(400, 1), 50), id="base"),
        pytest.param(keyed_normal(keys(400), 50), keyed_normal(keys(401)[1:], 50), id="key"),
        pytest.param(
            keyed_normal(keys(400), 51)[:, :-1], keyed_normal(keys(400), 51)[:, 1:], id="i"
        ),
        pytest.param(
            keyed_normal(keys(400), 52)[:, :-2], keyed_normal(keys(400), 52)[:, 2:], id="ii"
        ),
    ],
)
def test_adjacent_streams_are_independent(first, second):
    first, second = first.flatten().numpy(), second.flatten().numpy()
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / len(first) ** 0.5
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 4 / len(first) ** 0.5
    cells = [np.digitize(x, stats.norm.ppf([0.25, 0.5, 0.75])) for x in (first, second)]
    table = np.histogram2d(*cells, bins=4)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_numbers_depend_on_the_key_only():
    many = keys(300)
    whole = keyed_normal(many, 65)
    assert torch.equal(keyed_normal(many.flip(0), 65).flip(0), whole)
    for start in (0, 17, 299):
        assert torch.equal(keyed_normal(many[start : start + 1], 65)[0], whole[start])
    assert torch.equal(keyed_normal(many.reshape(20, 15), 65).flatten(0, 1), whole)
    assert torch.equal(keyed_normal(many, 30), whole[:, :30])
    assert torch.equal(keyed_uniform(many, 30), keyed_uniform(many, 65)[:, :30])


def test_combine_sees_the_order_and_every_part():
    a, b = torch.tensor(1), torch.tensor(2)
    found = {combine(x, y).item() for x in (a, b) for y in (a, b)}
    assert len(found) == 4
    assert len(set(keys(100000).tolist())) == 100000
