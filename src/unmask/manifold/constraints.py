"""How far an edit may go: constraints that every search and every noise can be put under.

A constraint takes activations and what is to be added to each, and returns what may be added; it
shortens, and never turns. `edits.Constrained` and `steering.Response` take one.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.errors import SettingError
from unmask.manifold.density import Acts, Density


@dataclass(frozen=True, eq=False)
class L2Ball:
    """Edits of at most some length, in units of the stream."""

    radius: float

    def __post_init__(self) -> None:
        """Check the radius."""
        _check_radius(self.radius)

    def __call__(self, acts: Acts, edit: Acts) -> Acts:
        """Shorten what is too long."""
        return edit * _fraction(edit.norm(dim=-1), self.radius)


@dataclass(frozen=True, eq=False)
class WhitenedBall:
    """Edits of at most some length in standard deviations of the activations."""

    density: Density = field(repr=False)
    radius: float

    def __post_init__(self) -> None:
        """Check the radius."""
        _check_radius(self.radius)

    def __call__(self, acts: Acts, edit: Acts) -> Acts:
        """Shorten what is too long."""
        # Half precision would lose the difference between edited and unedited.
        wide = edit.float()
        zero = torch.zeros_like(wide)
        white = self.density.whiten(wide) - self.density.whiten(zero)
        return edit * _fraction(white.norm(dim=-1), self.radius).to(edit)


@dataclass(frozen=True, eq=False)
class OnManifold:
    """Edits after which activations are as usual as a share of real ones, or as they were."""

    density: Density = field(repr=False)
    quantile: float = 0.95
    """Share of real activations that count as usual."""

    def __post_init__(self) -> None:
        """Check the share, and that the density is calibrated."""
        self.density.threshold(self.quantile)

    def __call__(self, acts: Acts, edit: Acts) -> Acts:
        """Shorten what would leave the manifold."""
        return self.density.constrain(acts, edit, self.quantile)


def least_collateral(
    second_moment: Float[Tensor, "d_model d_model"],
    readout: Float[Tensor, " d_model"],
    amount: float = 1.0,
) -> Float[Tensor, " d_model"]:
    """The edit that raises a linear read-out by `amount` and changes all else least.

    Minimises ``d^T S d`` subject to ``w^T d = amount``, where S is the second moment of the
    activations: ``amount S^-1 w / (w^T S^-1 w)``.

    Args:
        second_moment: S, such as `Moments.second_moment`; positive definite.
        readout: w, such as an unembedding or a probe.
        amount: By how much ``w . x`` is to rise.

    Raises:
        SettingError: If S is not positive definite, or w is zero or not finite.

    Source: the closed form of arXiv:2605.01167.
    """
    norm = readout.norm()
    if not (torch.isfinite(norm) and norm > 0):
        raise SettingError(
            f"expected a read-out that is finite and not zero, got one of norm {norm:.3g}. If it "
            "is a difference of means, check that the two sets differ."
        )
    factor, failed = torch.linalg.cholesky_ex(second_moment.double())
    if failed:
        raise SettingError(
            "expected a positive definite second moment, got one that is not. There are fewer "
            "activations than dimensions; add a share of the identity, or give more texts."
        )
    wide = readout.double()
    solved = torch.cholesky_solve(wide[:, None], factor)[:, 0]
    return (amount * solved / (wide @ solved)).to(readout)


def _fraction(lengths: Float[Tensor, "*batch"], radius: float) -> Float[Tensor, "*batch 1"]:
    return (radius / lengths.clamp(min=1e-30)).clamp(max=1)[..., None]


def _check_radius(radius: float) -> None:
    if not 0 < radius < float("inf"):
        raise SettingError(
            f"expected a radius above 0, got {radius}. It bounds the length of an edit; without a "
            "bound, give no constraint."
        )
