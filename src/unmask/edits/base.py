"""The interface of an edit, and composition."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits.site import Site, Tokens


class Edit:
    """A change at a site or to weights. `a + b` applies a, then b."""

    @property
    def parts(self) -> tuple["Edit", ...]:
        """The elementary edits, in the order of application."""
        return (self,)

    @property
    def activations(self) -> tuple["ActivationEdit", ...]:
        """The parts that change activations."""
        return tuple(part for part in self.parts if isinstance(part, ActivationEdit))

    @property
    def weights(self) -> tuple["WeightEdit", ...]:
        """The parts that change weights."""
        return tuple(part for part in self.parts if isinstance(part, WeightEdit))

    def __add__(self, other: "Edit") -> "Edit":
        """Apply this edit, then the other."""
        return Composition(self.parts + other.parts)


@dataclass(frozen=True)
class Composition(Edit):
    """Several edits at once."""

    edits: tuple[Edit, ...] = ()

    @property
    def parts(self) -> tuple[Edit, ...]:
        """The elementary edits, in the order of application."""
        return self.edits


NO_EDIT = Composition()
"""The edit that changes nothing."""


class ActivationEdit(Edit, ABC):
    """A change of the activations at one site, token by token.

    Rows and tokens may be given in any grouping, so a change of one must not depend on the others.
    """

    site: Site

    @abstractmethod
    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the edited activations of every token given, whatever the site's positions."""

    @classmethod
    def stacked(cls, edits: "Sequence[ActivationEdit]") -> "ActivationEdit | None":
        """Make one edit that changes each row of a batch as its own edit would.

        Args:
            edits: One for each row, all of one class and at one layer and stream.

        Returns:
            The edit; None if it cannot be made, and rows are then changed one edit at a time.
        """
        return None

    def apply(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Edit the activations at the site's positions.

        Args:
            acts: Activations at the site's layer and stream.
            tokens: Which tokens they belong to.

        Returns:
            New tensor with the dtype and device of `acts`, or `acts` itself where no token is at
            the positions; other positions keep their bits.
        """
        tokens = tokens.to(acts.device)
        mask = tokens.mask(self.site.positions)
        columns = mask.any(0).nonzero()
        if not len(columns):
            return acts
        # The change is computed in these columns only: often one of many.
        start, stop = int(columns[0]), int(columns[-1]) + 1
        before = acts[:, start:stop]
        after = self.change(before, tokens.columns(start, stop)).to(acts)
        edited = acts.clone()
        edited[:, start:stop] = torch.where(mask[:, start:stop, None], after, before)
        return edited


def widen(acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Return at least float32, so that a change in half precision is rounded once."""
    return acts.to(torch.promote_types(acts.dtype, torch.float32))


class WeightEdit(Edit, ABC):
    """A change of parameters."""

    def changes(self, name: str) -> bool:
        """Whether the parameter of this name is changed; by default every one is."""
        return True

    @abstractmethod
    def perturb(self, name: str, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the changed parameter `name`; `weight` is left unchanged."""
