"""Random numbers that are a pure function of a key.

The global generator, or one generator read in sequence, gives an edit other numbers when the batch,
the order or the device count changes, and re-seeding it at every forward repeats the same noise at
every generated token. Here each row of numbers is computed from its own 64-bit key: no state.

Source: SplitMix64 (Steele, Lea & Flood 2014) as a counter-based generator in the manner of Salmon
et al. (2011); normals by Box & Muller (1958).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def mix(x: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """Scramble 64-bit integers: the finaliser of SplitMix64, a bijection. Wraps on overflow."""
    x = _shift_right(x, 30).bitwise_xor_(x).mul_(_MIX_1)
    x = _shift_right(x, 27).bitwise_xor_(x).mul_(_MIX_2)
    return _shift_right(x, 31).bitwise_xor_(x)


def combine(key: Int[Tensor, "*batch"], other: Int[Tensor, "*other"] | int) -> Int[Tensor, "..."]:
    """Derive a new key from a key and a further number, by broadcasting. Order matters."""
    return mix(mix(key + _GAMMA) + other)


def keyed_uniform(keys: Int[Tensor, "*batch"], n: int) -> Float[Tensor, "*batch {n}"]:
    """Draw `n` uniform float32 numbers in [0, 1] for each key."""
    first, second = _uniform_pairs(keys, n)
    return torch.stack((first, second), dim=-1).flatten(-2)[..., :n]


def keyed_normal(keys: Int[Tensor, "*batch"], n: int) -> Float[Tensor, "*batch {n}"]:
    """Draw `n` standard normal float32 numbers for each key; none exceeds 6.8 in size."""
    first, second = _uniform_pairs(keys, n)
    radius = first.log_().mul_(-2).sqrt_()
    angle = second.mul_(2 * math.pi)
    sine = angle.sin().mul_(radius)
    return torch.stack((angle.cos_().mul_(radius), sine), dim=-1).flatten(-2)[..., :n]


def _uniform_pairs(
    keys: Int[Tensor, "*batch"], n: int
) -> tuple[Float[Tensor, "*batch half"], Float[Tensor, "*batch half"]]:
    """Split one 64-bit hash per pair into two uniforms on (0, 1], each of 32 bits."""
    counter = torch.arange(1, (n + 1) // 2 + 1, device=keys.device)
    bits = mix(keys[..., None] + counter * _GAMMA)
    high, low = _shift_right(bits, 32), bits & 0xFFFFFFFF
    return high.float().add_(0.5).mul_(2.0**-32), low.float().add_(0.5).mul_(2.0**-32)


def _shift_right(x: Int[Tensor, "*batch"], n: int) -> Int[Tensor, "*batch"]:
    """Shift logically; torch's `>>` on signed integers copies the sign bit."""
    return (x >> n).bitwise_and_((1 << (64 - n)) - 1)
