"""A learnt change of a weight, drawn beside the weight."""

from collections.abc import Sequence

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from unmask.edits import WeightDelta
from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound, bound
from unmask.models.subject import Subject


def weight(subject: Subject, name: str) -> Bound:
    """One matrix of a model, by the name of its parameter, in its own orientation.

    Returns:
        Legs ``d_out d_in``; a GPT-2 Conv1D has ``d_in d_out``.

    Raises:
        SettingError: If the model has no such matrix.
    """
    known = dict(subject.model.named_parameters())
    if name not in known or known[name].ndim != 2:
        near = [other for other in known if other.endswith(name.rpartition(".")[2])][:3]
        raise SettingError(
            f"expected the name of a matrix of the model, got {name!r}; there are such as "
            f"{', '.join(near or list(known)[:3])}. An adapter's names are those of its base."
        )
    module: nn.Module = subject.model.get_submodule(name.rpartition(".")[0])
    legs = "d_in d_out" if isinstance(module, Conv1D) else "d_out d_in"
    return bound(name, legs, known[name].detach().float())


def adapter(weight: Bound, delta: WeightDelta) -> Bound:
    """A weight and what an adapter adds to it: ``W + scale * B A``.

    Args:
        weight: From `weight`.
        delta: The adapter; `unmask.tuning.adapters.low_rank` reads one.

    Returns:
        A sum with the legs of the weight. A change that is not of low rank is one tensor.

    Raises:
        SettingError: If the adapter does not change this weight, or is of another shape.
    """
    names = weight.expression.tensors
    if len(names) != 1 or names[0] not in delta.factors:
        raise SettingError(
            f"expected a single weight among {', '.join(list(delta.factors)[:4])}, got "
            f"{', '.join(names)}. The adapter changes other weights, or names them otherwise."
        )
    (name,) = names
    first, second = weight.legs
    factors = [factor.float() for factor in delta.factors[name]]
    if _product_shape(factors) != weight.shape:
        raise SettingError(
            f"expected a change of shape {weight.shape} for {name!r}, got factors of "
            f"{', '.join(str(tuple(factor.shape)) for factor in factors)}. The adapter is probably "
            "another model's, or its factors are transposed."
        )
    if len(factors) == 1:
        return weight + delta.scale * bound(f"D^{name}", f"{first} {second}", factors[0])
    left, right = ("A", "B") if first == "d_in" else ("B", "A")
    low_rank = bound(f"{left}^{name}", f"{first} rank", factors[0])
    low_rank = low_rank @ bound(f"{right}^{name}", f"rank {second}", factors[1])
    return weight + delta.scale * low_rank


def _product_shape(factors: Sequence[Tensor]) -> tuple[int, ...] | None:
    """Of the product of one or two matrices; None if there is none."""
    if len(factors) == 1:
        return tuple(factors[0].shape)
    left, right = factors
    return (left.shape[0], right.shape[1]) if left.shape[1] == right.shape[0] else None
