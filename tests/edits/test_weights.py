"""Weight noise: its size, what it is a function of, and that it leaves no trace."""

import math

import pytest
import torch
from torch import nn

from unmask.edits import WeightNoise, edited_weights
from unmask.edits import weights as weights_module
from unmask.edits.base import WeightEdit
from unmask.errors import SettingError


class Tied(nn.Module):
    """An embedding that is also the output projection, a bias, a constant norm and a 3-D tensor."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        gen = torch.Generator().manual_seed(0)
        self.embed = nn.Embedding(50, 16)
        self.out = nn.Linear(16, 50)
        self.norm = nn.LayerNorm(16)
        self.experts = nn.Parameter(torch.empty(3, 16, 8))
        self.scalar = nn.Parameter(torch.ones(()))
        with torch.no_grad():
            for tensor in (self.embed.weight, self.out.bias, self.experts):
                tensor.normal_(std=0.02, generator=gen)
        self.out.weight = self.embed.weight
        self.to(dtype)


def bits(module: nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.detach().flatten().view(torch.uint8).numpy().tobytes()
        for name, tensor in module.state_dict().items()
    }


DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_restored_bit_for_bit(dtype):
    module = Tied(dtype)
    with torch.no_grad():
        module.out.bias[0] = torch.nan
        module.out.bias[1] = -0.0
    before = bits(module)
    with edited_weights(module, [WeightNoise(0.5, seed=1, size="absolute")]):
        assert all(bits(module)[name] != before[name] for name in before)
    assert bits(module) == before
    with pytest.raises(RuntimeError, match="inside"):
        with edited_weights(module, [WeightNoise(0.5, seed=1), WeightNoise(0.5, seed=2)]):
            assert bits(module) != before
            raise RuntimeError("inside")
    assert bits(module) == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_restored_after_an_edit_breaks_halfway(dtype):
    class Broken(WeightEdit):
        def perturb(self, name, weight):
            if name.startswith("norm"):
                raise RuntimeError("broken edit")
            return weight + 1

    module = Tied(dtype)
    before = bits(module)
    with pytest.raises(RuntimeError, match="broken edit"):
        with edited_weights(module, [Broken()]):
            raise AssertionError("must not be reached")
    assert bits(module) == before


def test_no_edit_copies_and_changes_nothing():
    module = Tied()
    before = bits(module)
    with edited_weights(module, []):
        assert bits(module) == before


def test_tied_weights_are_changed_once_and_stay_tied():
    module = Tied()
    before = module.embed.weight.detach().clone()
    noise = WeightNoise(0.5, seed=1)
    with edited_weights(module, [noise]):
        assert module.out.weight is module.embed.weight
        torch.testing.assert_close(
            module.embed.weight.detach(), noise.perturb("embed.weight", before)
        )


def test_size_relative_to_the_standard_deviation_and_absolute():
    weight = 0.02 * torch.randn(400, 100, generator=torch.Generator().manual_seed(0)) + 3
    relative = WeightNoise(0.3, seed=1).perturb("w", weight) - weight
    assert relative.std() == pytest.approx(0.3 * 0.02, rel=0.02)
    absolute = WeightNoise(0.01, seed=1, size="absolute").perturb("w", weight) - weight
    assert absolute.std() == pytest.approx(0.01, rel=0.02)
    assert abs(absolute.mean()) < 5 * 0.01 / weight.numel() ** 0.5
    for constant in (torch.ones(7), torch.ones(()), torch.ones(1), torch.ones(2, 3, 4)):
        assert torch.equal(WeightNoise(0.3, seed=1).perturb("w", constant), constant)
        assert (WeightNoise(0.3, seed=1, size="absolute").perturb("w", constant) != 1).all()


def test_noise_depends_on_seed_name_and_row_only(monkeypatch):
    weight = torch.zeros(60, 40)

    def noise(seed=1, name="w", of=weight):
        return WeightNoise(1.0, seed=seed, size="absolute").perturb(name, of)

    base = noise()
    assert torch.equal(noise(), base)
    assert torch.equal(noise(of=weight[:20]), base[:20])  # whatever the number of rows
    monkeypatch.setattr(weights_module, "_NUMBERS_AT_ONCE", 100)
    assert torch.equal(noise(), base)  # and however many are drawn at a time
    for other in (noise(seed=2), noise(name="v"), base.roll(1, 0), base.roll(1, 1)):
        r = torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]
        assert abs(r) < 4 / math.sqrt(base.numel())


def test_noise_is_the_same_whatever_the_order_of_the_tensors():
    module, other = Tied(), Tied()
    for registered in (other._parameters, other._modules):
        for name in reversed(list(registered)):
            registered[name] = registered.pop(name)
    names = [name for name, _ in module.named_parameters()]
    assert [name for name, _ in other.named_parameters()] != names
    edit = WeightNoise(0.4, seed=9)
    with edited_weights(module, [edit]), edited_weights(other, [edit]):
        assert bits(module)["experts"] == bits(other)["experts"]
        assert bits(module)["norm.bias"] == bits(other)["norm.bias"]


def test_the_noisy_weight_is_rounded_once():
    weight = (0.02 * torch.randn(30, 40, generator=torch.Generator().manual_seed(0))).bfloat16()
    noisy = WeightNoise(0.1, seed=1).perturb("w", weight)
    wide = WeightNoise(0.1, seed=1).perturb("w", weight.float())
    assert noisy.dtype == torch.bfloat16
    assert torch.equal(noisy, wide.bfloat16())


def test_weight_noise_leaves_the_global_generator_alone():
    module = Tied()
    state = torch.get_rng_state()
    with edited_weights(module, [WeightNoise(0.1, seed=1)]):
        pass
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_a_sigma_out_of_range_is_an_error(sigma):
    with pytest.raises(SettingError, match="expected a finite weight-noise sigma of at least 0"):
        WeightNoise(sigma, seed=0)
