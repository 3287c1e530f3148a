"""A diagram with its arrays, and an algebra in which the arrays travel along."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

import wirework
from unmask.errors import SettingError
from wirework.diagram import Copy, Diagram, Expression, Leg, Open, Port, Sum
from wirework.values import sizes_of

MEMORY_LIMIT = 2**28
"""Most elements of an array made on the way, 1 GiB in float32; a large vocabulary squared is more.
"""


@dataclass(frozen=True, eq=False)
class Bound:
    """An expression and the arrays that its tensors name.

    It composes as its expression does: ``@`` joins the last leg to the next one's first, ``+`` and
    ``*`` make sums, ``.T`` reverses the legs, a call renames them.
    """

    expression: Expression
    arrays: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """By tensor name. Weights are views of the model's own where nothing is folded into them."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of dimensions that no array has."""

    @property
    def legs(self) -> tuple[str, ...]:
        """Names of the open legs, in the order of the value's axes."""
        return tuple(leg.name for leg in self.expression.legs)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's, without computing it."""
        known = sizes_of(self.expression, self.arrays, self.sizes)
        return tuple(known[leg.dim] for leg in self.expression.legs)

    def value(self, *, memory_limit: int | None = MEMORY_LIMIT) -> Float[Tensor, "*legs"]:
        """Contract it.

        Args:
            memory_limit: Most elements of any array that is made on the way, the value included.

        Raises:
            SettingError: If the value itself is above the limit.
            wirework.WireworkError: If an array is not bound yet, or the limit cannot be kept.
        """
        if memory_limit is not None and math.prod(self.shape) > memory_limit:
            raise SettingError(
                f"expected a value of at most {memory_limit} elements, got one of shape "
                f"{self.shape}. Join its legs to something, raise memory_limit, or use what "
                "works by factors: path_expansion, composition_scores, unembed_singular."
            )
        return wirework.evaluate(
            self.expression, self.arrays, sizes=self.sizes, memory_limit=memory_limit
        )

    def bind(self, **arrays: Float[Tensor, "*axes"]) -> "Bound":
        """Give arrays to tensors that have none yet, or others to those that have."""
        for name in arrays:
            if name not in self.expression.tensors:
                raise SettingError(
                    f"expected a tensor of this diagram, got {name!r}; it has "
                    f"{', '.join(self.expression.tensors)}. Check the spelling."
                )
        return replace(self, arrays={**self.arrays, **arrays})

    def times(
        self, other: "Bound", join: Mapping[str, str] | None = None, share: Sequence[str] = ()
    ) -> "Bound":
        """Put two side by side, joining some legs.

        Args:
            other: Its legs come after this one's, which keep their order.
            join: From legs of this one to those of the other that they are summed with.
            share: Legs of both that are one axis of the result, kept through a copy dot.
        """
        a, pairs = self.expression, list((join or {}).items())
        leg_of = {leg.name: leg for leg in a.legs}
        for name in share:
            a = wirework.product(a, _dot(leg_of[name]), [(name, f"{name} in")])
            pairs.append((f"{name} across", name))
        made = wirework.product(a, other.expression, pairs)
        made = made(**{f"{name} out": name for name in share})
        mine = [name for name in self.legs if name not in (join or {})]
        theirs = [leg.name for leg in made.legs if leg.name not in mine]
        return self._with(wirework.transpose(made, [*mine, *theirs]), other)

    def ordered(self, *order: str) -> "Bound":
        """Put the open legs, and so the value's axes, into another order."""
        return replace(self, expression=wirework.transpose(self.expression, order))

    @property
    def T(self) -> "Bound":  # noqa: N802 (numpy's name)
        """The open legs in the reverse order."""
        return replace(self, expression=self.expression.T)

    def __call__(self, **names: str) -> "Bound":
        """Rename open legs: ``head.ov(d_model="source")``."""
        return replace(self, expression=self.expression(**names))

    def __matmul__(self, other: "Bound") -> "Bound":
        """Join the last open leg to the other's first."""
        return self._with(self.expression @ other.expression, other)

    def __add__(self, other: "Bound") -> "Bound":
        """Add; legs of the same name are the same axis."""
        return self._with(self.expression + other.expression, other)

    def __sub__(self, other: "Bound") -> "Bound":
        """Subtract; legs of the same name are the same axis."""
        return self._with(self.expression - other.expression, other)

    def __mul__(self, factor: float | int) -> "Bound":
        """Multiply with a number; one changes nothing."""
        return self if factor == 1 else replace(self, expression=self.expression * factor)

    __rmul__ = __mul__

    def __str__(self) -> str:
        """The expression, in wirework's text form."""
        return str(self.expression)

    def _repr_svg_(self) -> str | None:
        """A drawing, for notebooks."""
        show = getattr(self.expression, "_repr_svg_", None)
        return show() if show else None

    def _with(self, expression: Diagram | Sum, other: "Bound") -> "Bound":
        for name in self.arrays.keys() & other.arrays.keys():
            if not _same(self.arrays[name], other.arrays[name]):
                raise SettingError(
                    f"expected tensors of one name to be the same array, got two for {name!r}. "
                    "The diagrams are probably of two models, or of one before and after an edit; "
                    "rename the tensor in one of them."
                )
        arrays = {**self.arrays, **other.arrays}
        return Bound(expression, arrays, {**self.sizes, **other.sizes})


def bound(name: str, legs: str, array: Tensor | None = None, **kind: object) -> Bound:
    """One tensor, all legs open.

    Args:
        name: Of the tensor.
        legs: In the order of the array's axes: ``name`` or ``name:dimension``.
        array: None if it is bound later.
        kind: Other fields of `wirework.Tensor`.
    """
    arrays = {} if array is None else {name: array}
    return Bound(wirework.tensor(name, legs, **kind), arrays)


def ones(leg: str) -> Bound:
    """A vector of ones, which is a copy dot with one leg; other tensors have to give its size."""
    return Bound(wirework.copy(leg))


def diagonal(vector: Bound) -> Bound:
    """The diagonal matrix of a vector: a copy dot with the vector on its third leg."""
    (leg,) = vector.expression.legs
    dot = Bound(_dot(leg))
    made = dot.times(vector, {f"{leg.name} across": leg.name})
    return made(**{f"{leg.name} in": leg.name, f"{leg.name} out": f"{leg.name}'"})


def _dot(leg: Leg) -> Diagram:
    opened = (Leg(f"{leg.name} {way}", leg.dim) for way in ("in", "across", "out"))
    ports = tuple(Open(one, Port(0, number)) for number, one in enumerate(opened))
    return Diagram((Copy((leg, leg, leg)),), (), ports)


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    return a.shape == b.shape and a.device == b.device and bool(torch.equal(a, b))
