"""What bounds a steering vector: its length, or what activations are like."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import ActivationEdit, AddVector, Constrained, Positions, Site
from unmask.errors import SettingError
from unmask.manifold import Density, Gaussian, OnManifold
from unmask.models.activations import activations
from unmask.models.batch import TokenRow
from unmask.models.subject import Subject
from unmask.steering.response import Response

Within = Literal["l2", "whitened", "density"]
"""`l2`: a ball. `whitened`: a ball in standard deviations of the activations. `density`: a ball,
and at each token the vector is shortened until the steered activation is as usual as 95 % of real
ones."""


@dataclass(frozen=True)
class Bound:
    """How vectors are searched for, and added, within a bound."""

    within: Within
    density: Density
    """Of what enters the source block."""

    def __post_init__(self) -> None:
        """Check the name."""
        if self.within not in get_args(Within):
            raise SettingError(
                f"expected a bound of {', '.join(get_args(Within))}, got {self.within!r}. "
                "`l2` is the published one."
            )

    def response(
        self,
        subject: Subject,
        rows: Sequence[TokenRow],
        source: int,
        target: int,
        **options: Any,
    ) -> Response:
        """What vectors within the bound change; `options` are `Response`'s."""
        if self.within == "whitened":
            options["basis"] = self.density.colouring
        if self.within == "density":
            options["constraint"] = self._on_manifold
        return Response(subject, rows, source, target, **options)

    def radius(self, length: float) -> float:
        """The radius, in the search's coordinates, at which random vectors have a given length.

        The length, in units of the stream, is a root mean square.
        """
        if self.within != "whitened":
            return length
        spread = self.density.covariance.trace() / self.density.d_model
        return length / float(spread.sqrt())

    def edit(
        self, layer: int, vector: Float[Tensor, " d_model"], positions: Positions = "all"
    ) -> ActivationEdit:
        """Add a vector to what enters a block, as far as the bound allows it."""
        edit = AddVector(Site(layer, "resid_pre", positions), vector)
        return Constrained(edit, self._on_manifold) if self.within == "density" else edit

    @cached_property
    def _on_manifold(self) -> OnManifold:
        return OnManifold(self.density)  # one object for all edits, so that they run as one batch


def fit_density(subject: Subject, rows: Sequence[TokenRow], layer: int) -> Gaussian:
    """Fit a Gaussian to what enters a block, at every token of some rows but each row's first.

    Every fifth row is held out, and calibrates percentiles.

    Raises:
        SettingError: If there are too few rows, or they are too short.
    """
    found = activations(subject, rows, Site(layer, "resid_pre"), first=1)
    density = Gaussian.fit(one for number, one in enumerate(found) if number % 5)
    density.calibrate(torch.cat(found[::5]))
    return density
