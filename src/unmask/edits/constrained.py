"""Edits kept within a constraint, such as staying where activations lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from unmask.edits.base import ActivationEdit, widen
from unmask.edits.site import Site, Tokens

Constraint = Callable[
    [Float[Tensor, "*batch d_model"], Float[Tensor, "*batch d_model"]],
    Float[Tensor, "*batch d_model"],
]
"""Takes activations and what is to be added to each of them; returns what may be added."""


@dataclass(frozen=True, eq=False)
class Constrained(ActivationEdit):
    """Another edit, of which at each token only what the constraint lets through is added."""

    edit: ActivationEdit
    constraint: Constraint = field(repr=False)

    @property
    def site(self) -> Site:  # type: ignore[override]
        """That of the other edit."""
        return self.edit.site

    @classmethod
    def stacked(cls, edits: Sequence[ActivationEdit]) -> ActivationEdit | None:
        """Constrain edits that can be stacked, if they share their constraint."""
        mine = [edit for edit in edits if type(edit) is Constrained]
        if len(mine) < len(edits) or len({id(edit.constraint) for edit in mine}) > 1:
            return None
        if len({type(edit.edit) for edit in mine}) > 1:
            return None
        inner = type(mine[0].edit).stacked([edit.edit for edit in mine])
        return None if inner is None else Constrained(inner, mine[0].constraint)

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Add what may be added."""
        wide = widen(acts)
        return wide + self.constraint(wide, self.edit.change(wide, tokens) - wide)
