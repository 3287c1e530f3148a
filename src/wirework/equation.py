"""Equations and derivations: expressions with relations between them."""

from collections.abc import Iterable
from dataclasses import dataclass

from wirework.diagram import Diagram, Expression, Sum
from wirework.errors import DiagramError


@dataclass(frozen=True)
class Equation:
    """Expressions in a row; in the drawing, the first relations of several rows are aligned.

    Raises:
        DiagramError: If the number of relations does not fit, or the sides differ in open legs.
    """

    sides: tuple[Expression, ...]
    relations: tuple[str, ...]
    """Between one side and the next: ``"="``, ``"≈"``."""
    notes: tuple[str, ...] = ()
    """Over each relation, such as the name of a rule; empty, or one for each."""

    def __post_init__(self) -> None:
        """Check that there is a relation between every two sides, and that their legs are alike."""
        if not self.sides or len(self.relations) != len(self.sides) - 1:
            raise DiagramError(
                f"expected a relation between every two sides, got {len(self.sides)} sides and "
                f"{len(self.relations)} relations. Give one relation less than sides."
            )
        if self.notes and len(self.notes) != len(self.relations):
            raise DiagramError(
                f"expected a note for each of {len(self.relations)} relations, or none, got "
                f"{len(self.notes)}. An empty note is an empty string."
            )
        legs = [{leg.name: leg.dim for leg in side.legs} for side in self.sides]
        for side, known in zip(self.sides[1:], legs[1:], strict=True):
            if known != legs[0]:
                raise DiagramError(
                    f"expected the same open legs on all sides of an equation, got "
                    f"{sorted(legs[0])} and {sorted(known)} in {side}. What differs in legs "
                    "cannot be equal; rename or join them."
                )

    def _repr_svg_(self) -> str:
        from wirework.emit import draw

        return draw(self)


def equation(*sides: Expression) -> Equation:
    """Put an equals sign between expressions."""
    return Equation(sides, ("=",) * (len(sides) - 1))


def derivation(expression: Expression, steps: Iterable[tuple[str, Expression]]) -> Equation:
    """Make one equation of the steps that `wirework.simplify.steps` takes, with their rules."""
    found = list(steps)
    sides: tuple[Expression, ...] = (expression, *(after for _, after in found))
    return Equation(sides, ("=",) * len(found), tuple(name for name, _ in found))


Drawable = Diagram | Sum | Equation
"""What can be laid out."""
