"""Points on a sphere, and how sets of them are kept apart."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.hashing import key_bits

Vectors = Float[Tensor, "vectors d_model"]


def random_units(number: int, width: int, seed: int, device: torch.device) -> Vectors:
    """Draw directions uniformly: the same ones for a seed on every device and in every number.

    Args:
        number: How many.
        width: Their length as arrays.
        seed: With a vector's number it determines the vector.
        device: Where they are put.
    """
    drawn = torch.empty(number, width)
    for index in range(number):
        gen = torch.Generator().manual_seed(key_bits("direction", seed, index))
        drawn[index] = torch.randn(width, generator=gen)
    return units(drawn).to(device)


def units(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Scale vectors to length 1; a zero vector stays zero."""
    return torch.nn.functional.normalize(vectors, dim=-1)


def tangent(gradients: Vectors, at: Vectors) -> Vectors:
    """Remove from each gradient what would change the length of its vector."""
    unit = units(at)
    return gradients - (gradients * unit).sum(-1, keepdim=True) * unit


def without(vectors: Vectors, others: Float[Tensor, "others d_model"]) -> Vectors:
    """Project vectors onto the complement of orthonormal others."""
    return vectors - (vectors @ others.T) @ others


def orthonormal(vectors: Vectors) -> Vectors:
    """Replace vectors by an orthonormal basis of their span, each in turn (QR).

    The first keeps its direction, so the order matters; see `nearest_orthonormal`.
    """
    q, r = torch.linalg.qr(vectors.T)
    return (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).T


def nearest_orthonormal(vectors: Vectors) -> Vectors:
    """Replace vectors by the orthonormal ones nearest to them, all at once (Loewdin)."""
    u, _, vh = torch.linalg.svd(vectors, full_matrices=False)
    return u @ vh


def completed(vectors: Vectors, number: int, seed: int) -> Float[Tensor, "number d_model"]:
    """Add random orthonormal vectors to some orthonormal ones, up to a number of them."""
    missing = number - len(vectors)
    if missing <= 0:
        return vectors[:number]
    more = random_units(missing, vectors.shape[1], seed, vectors.device).to(vectors)
    return torch.cat([vectors, orthonormal(without(without(more, vectors), vectors))])
