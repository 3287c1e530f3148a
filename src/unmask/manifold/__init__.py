"""Densities of activations: how usual is one, and how far may an edit go before it is not."""

from unmask.manifold.constraints import L2Ball, OnManifold, WhitenedBall, least_collateral
from unmask.manifold.density import Density
from unmask.manifold.files import load, save
from unmask.manifold.gaussian import Gaussian
from unmask.manifold.mixture import Mixture
from unmask.manifold.moments import Moments
from unmask.manifold.vae import Vae

__all__ = [
    "Density",
    "Gaussian",
    "L2Ball",
    "Mixture",
    "Moments",
    "OnManifold",
    "Vae",
    "WhitenedBall",
    "least_collateral",
    "load",
    "save",
]
