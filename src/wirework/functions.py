"""Functions that boxes apply, on numpy arrays and torch tensors alike."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wirework.errors import DiagramError

Array = Any
"""A numpy array or a torch tensor."""

EPS = 1e-6
"""What norms add to a variance."""

GELU_SLOPE, GELU_CUBE = (2 / math.pi) ** 0.5, 0.044715
"""Of the gelu by tanh: Hendrycks and Gimpel (2016), arXiv:1606.08415."""


class Kind(NamedTuple):
    """A function."""

    apply: Callable[[Array, tuple[int, ...]], Array]
    """Of an array and the axes along which it acts."""
    elementwise: bool


def library(array: Array) -> Any:
    """numpy, or torch if the array is a torch tensor, which is then loaded already."""
    if type(array).__module__.partition(".")[0] == "torch":
        return sys.modules["torch"]
    import numpy

    return numpy


def permute(array: Array, axes: Sequence[int]) -> Array:
    """Put axes into another order."""
    xp = library(array)
    return xp.permute(array, tuple(axes)) if xp.__name__ == "torch" else array.transpose(axes)


def _softmax(x: Array, axes: tuple[int, ...]) -> Array:
    shifted = x - _over(x, axes, "amax")
    risen = library(x).exp(shifted)
    return risen / _over(risen, axes, "sum")


def _rms_norm(x: Array, axes: tuple[int, ...]) -> Array:
    return x / (_over(x * x, axes, "mean") + EPS) ** 0.5


def _layer_norm(x: Array, axes: tuple[int, ...]) -> Array:
    return _rms_norm(x - _over(x, axes, "mean"), axes)


def _over(x: Array, axes: tuple[int, ...], what: str) -> Array:
    """Reduce along axes, and keep them with length one."""
    xp = library(x)
    keep = {"keepdims": True} if xp.__name__ == "numpy" else {"keepdim": True}
    return getattr(xp, what)(x, axes, **keep)


def _elementwise(function: Callable[[Array], Array]) -> Kind:
    return Kind(lambda x, axes: function(x), True)


def _sigmoid(x: Array) -> Array:
    # Unlike 1 / (1 + exp(-x)), this does not overflow.
    return 0.5 + 0.5 * library(x).tanh(0.5 * x)


def _normal_cdf(x: Array) -> Array:
    xp = library(x)
    scaled = x * 0.5**0.5
    if xp.__name__ == "torch":
        return 0.5 * xp.erfc(-scaled)
    from scipy.special import erfc

    return 0.5 * erfc(-scaled)


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + library(x).tanh(GELU_SLOPE * (x + GELU_CUBE * x**3)))


FUNCTIONS: dict[str, Kind] = {
    "exp": _elementwise(lambda x: library(x).exp(x)),
    "log": _elementwise(lambda x: library(x).log(x)),
    "tanh": _elementwise(lambda x: library(x).tanh(x)),
    "sigmoid": _elementwise(_sigmoid),
    "silu": _elementwise(lambda x: x * _sigmoid(x)),
    "gelu": _elementwise(lambda x: x * _normal_cdf(x)),
    "gelu_tanh": _elementwise(_gelu_tanh),
    "normal_cdf": _elementwise(_normal_cdf),
    "relu": _elementwise(lambda x: x * (x > 0)),
    "step": _elementwise(lambda x: (x > 0) * (x * 0 + 1)),
    "square": _elementwise(lambda x: x * x),
    "reciprocal": _elementwise(lambda x: 1 / x),
    "rsqrt": _elementwise(lambda x: x**-0.5),
    "softmax": Kind(_softmax, False),
    "rms_norm": Kind(_rms_norm, False),
    "layer_norm": Kind(_layer_norm, False),
}
"""By name. Norms are without a learnt scale, which is a tensor of its own; `EPS` is added."""


def check(name: str, along: tuple[str, ...]) -> None:
    """Check that a function is known and has the legs that it needs.

    Raises:
        DiagramError: If not.
    """
    if name not in FUNCTIONS:
        raise DiagramError(
            f"expected a function among {', '.join(FUNCTIONS)}, got {name!r}. Check the spelling, "
            "or add it to wirework.functions.FUNCTIONS."
        )
    if FUNCTIONS[name].elementwise == bool(along):
        legs = "no legs, since it acts on each element" if along else "legs along which it acts"
        raise DiagramError(
            f"expected {legs} for {name}, got {list(along)}. softmax and norms act along legs, "
            "all others on elements."
        )
