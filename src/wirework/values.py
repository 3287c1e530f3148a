"""The value of an expression, contracted by opt_einsum in an order that is planned first."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from typing import Any, Literal

import numpy as np
import opt_einsum

from wirework.derivative import expand
from wirework.diagram import Box, Copy, Diagram, Expression, Function, Port, Tensor, nodes_of, terms
from wirework.errors import DiagramError, MemoryLimitError, ValueMissingError
from wirework.functions import FUNCTIONS, Array, library, permute

Arrays = Mapping[str, Array]
Optimizer = Literal["auto", "opt_einsum", "cotengra"]
"""Who looks for an order of contraction. auto: cotengra where it is installed."""

MOST_SEARCHED = 20
"""Operands up to which the order of least memory is searched for; the time may be exponential."""


@dataclass(frozen=True)
class Contraction:
    """A diagram as one einsum: an index for all that is joined by wires and copies."""

    operands: tuple[tuple[int, tuple[int, ...]], ...]
    """Node and the indices of its legs; copies are not among them."""
    output: tuple[int, ...]
    """Indices of the open legs; one may stand twice, which is a diagonal."""
    dims: Mapping[int, str]
    """Dimension of each index."""
    summed: tuple[int, ...]
    """Indices that no tensor has: each gives a factor, or ones along an output."""


@dataclass(frozen=True)
class Plan:
    """What a contraction costs before it is run."""

    path: tuple[tuple[int, ...], ...]
    flops: float
    """Multiplications and additions."""
    largest: float
    """Elements of the largest array made on the way, the value among them."""
    peak: float = 1.0
    """Elements of all arrays that are held at once at most, the operands among them."""

    def __str__(self) -> str:
        """On one line."""
        return (
            f"{self.flops:.3g} FLOPs, largest array {self.largest:.3g} elements, "
            f"{self.peak:.3g} at once"
        )


@lru_cache(maxsize=1024)
def contraction(diagram: Diagram) -> Contraction:
    """Give one index to all legs that wires and copies join."""
    near: dict[Port, list[Port]] = {port: [] for port in diagram.ports()}
    for first, second in diagram.wires:
        near[first].append(second)
        near[second].append(first)
    operands_at = [n for n, node in enumerate(diagram.nodes) if not isinstance(node, Copy)]
    for number, node in enumerate(diagram.nodes):
        if isinstance(node, Copy):
            for leg in range(1, len(node.legs)):
                near[Port(number, 0)].append(Port(number, leg))
                near[Port(number, leg)].append(Port(number, 0))
    index: dict[Port, int] = {}
    dims: dict[int, str] = {}
    for start in near:
        if start in index:
            continue
        dims[len(dims)] = diagram.leg(start).dim
        index[start] = len(dims) - 1
        reached = [start]
        for port in reached:
            for other in near[port]:
                if other not in index:
                    index[other] = len(dims) - 1
                    reached.append(other)
    operands = tuple(
        (number, tuple(index[Port(number, leg)] for leg in range(len(diagram.nodes[number].legs))))
        for number in operands_at
    )
    held = {i for _, indices in operands for i in indices}
    output = tuple(index[one.port] for one in diagram.open)
    return Contraction(operands, output, dims, tuple(i for i in dims if i not in held))


def evaluate(
    expression: Expression,
    arrays: Arrays,
    *,
    sizes: Mapping[str, int] | None = None,
    memory_limit: int | None = None,
    optimizer: Optimizer = "auto",
) -> Array:
    """Compute the value; derivatives that stand in it are carried out.

    Args:
        expression: Its open legs are the value's axes, in order.
        arrays: By tensor name: numpy arrays, or torch tensors.
        sizes: Of dimensions that no array has, by name.
        memory_limit: Most elements of any array that is made on the way.
        optimizer: Who looks for an order of contraction; it is looked for once for each diagram.

    Raises:
        ValueMissingError: If an array or a size is missing, or does not fit.
        MemoryLimitError: If no order of contraction that was found keeps to the limit.
        ImportError: If cotengra is asked for, and is not installed.
    """
    known = sizes_of(expression, arrays, sizes)
    total: Array | None = None
    for coefficient, term in terms(_expanded(expression)):
        part = _value(term, arrays, known, memory_limit, optimizer)
        part = part if coefficient == 1 else coefficient * part
        total = part if total is None else total + part
    if total is None:
        return np.zeros([known[leg.dim] for leg in expression.legs])
    return total


def plan(
    expression: Expression,
    arrays: Arrays,
    *,
    sizes: Mapping[str, int] | None = None,
    memory_limit: int | None = None,
    optimizer: Optimizer = "auto",
) -> tuple[Plan, ...]:
    """Plan the contraction of each term, and of what stands in functions, without running any.

    The arguments and errors are those of `evaluate`; of the arrays only the shapes are used.
    """
    known = sizes_of(expression, arrays, sizes)
    found: list[Plan] = []
    for _, term in terms(_expanded(expression)):
        found.append(_planned(term, known, memory_limit, optimizer)[0])
        for node in term.nodes:
            if isinstance(node, Function):
                found += plan(
                    node.inner, arrays, sizes=known, memory_limit=memory_limit, optimizer=optimizer
                )
    return tuple(found)


def sizes_of(
    expression: Expression, arrays: Arrays, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Read the size of each dimension from the arrays.

    Raises:
        ValueMissingError: If an array or size is missing, or two do not agree.
    """
    known: dict[str, tuple[int, str]] = {d: (n, "sizes") for d, n in (sizes or {}).items()}
    expanded = _expanded(expression)
    needed = [node for node in nodes_of(expanded) if isinstance(node, Tensor)]
    if expanded is not expression:
        # What is differentiated may leave tensors out, whose dimensions are those of its legs.
        before = (node for node in nodes_of(expression) if isinstance(node, Tensor))
        needed += [node for node in before if node.name in arrays]
    for node in needed:
        _read_sizes(node, arrays, known)
    return {dim: size for dim, (size, _) in known.items()}


def _read_sizes(node: Tensor, arrays: Arrays, known: dict[str, tuple[int, str]]) -> None:
    if node.name not in arrays:
        raise ValueMissingError(
            f"expected an array for {node}, got: {', '.join(arrays) or 'none'}. Pass one "
            f"with {len(node.legs)} axes under that name."
        )
    shape = tuple(arrays[node.name].shape)
    if len(shape) != len(node.legs):
        raise ValueMissingError(
            f"expected an array with {len(node.legs)} axes for {node}, got shape {shape}. "
            "The legs stand in the order of the array's axes."
        )
    for leg, size in zip(node.legs, shape, strict=True):
        if leg.dim not in known:
            known[leg.dim] = (size, str(node))
        elif known[leg.dim][0] != size:
            before, where = known[leg.dim]
            raise ValueMissingError(
                f"expected size {before} for dimension {leg.dim!r}, as in {where}, got "
                f"{size} in leg {leg.name!r} of {node}. An array is probably transposed, "
                "or two dimensions have one name."
            )


@lru_cache(maxsize=256)
def _expanded(expression: Expression) -> Expression:
    return expand(expression)


def _planned(
    term: Diagram, sizes: Mapping[str, int], limit: int | None, optimizer: Optimizer
) -> tuple[Plan, Callable[..., Array] | None]:
    """Plan a contraction, or remember the plan."""
    dims = contraction(term).dims
    for index, dim in dims.items():
        if dim not in sizes:
            raise ValueMissingError(
                f"expected a size for dimension {dim!r} (index {index}), got: "
                f"{', '.join(sizes) or 'none'}. No array has it; pass sizes={{{dim!r}: n}}."
            )
    return _plan(term, tuple(sizes[dim] for dim in dims.values()), limit, optimizer)


@lru_cache(maxsize=1024)
def _plan(
    term: Diagram, sizes: tuple[int, ...], limit: int | None, optimizer: Optimizer
) -> tuple[Plan, Callable[..., Array] | None]:
    """A plan, and what carries it out, for sizes of the indices in their order."""
    one = contraction(term)
    said = _said(one)
    operands = [indices for _, indices in one.operands]
    shapes = [tuple(sizes[i] for i in indices) for indices in operands]
    whole = float(prod(sizes[i] for i in one.output))
    found: list[Plan] = [] if shapes else [Plan((), 0.0, whole, whole)]
    for search in _searches(one, sizes, limit, optimizer) if shapes else ():
        path, about = opt_einsum.contract_path(
            said,
            *shapes,
            shapes=True,
            optimize=search,
            # A search for the least memory does without a limit, and fails where it has one.
            memory_limit=limit if search == "auto" else None,
        )
        path = tuple(map(tuple, path))
        largest, peak = _memory(path, operands, set(one.output), sizes, whole)
        found.append(Plan(path, float(about.opt_cost), largest, peak))
        if limit is None or largest <= limit:
            break
    chosen = min(found, key=lambda plan: plan.largest)
    if limit is not None and chosen.largest > limit:
        raise MemoryLimitError(
            f"expected arrays of at most {limit} elements, got {chosen.largest:.3g} at least for "
            f"{term}. The value itself has {whole:.3g}; raise the limit, or leave fewer legs open."
        )
    if not shapes:
        return chosen, None
    run = opt_einsum.contract_expression(said, *shapes, optimize=list(chosen.path))
    return chosen, run


def _said(one: Contraction) -> str:
    """As an einsum string; indices that it cannot have are put in by `_spread`."""
    output = dict.fromkeys(i for i in one.output if i not in one.summed)
    symbols = {index: opt_einsum.get_symbol(index) for index in one.dims}
    said = ",".join("".join(symbols[i] for i in indices) for _, indices in one.operands)
    return said + "->" + "".join(symbols[i] for i in output)


def _searches(
    one: Contraction, sizes: tuple[int, ...], limit: int | None, optimizer: Optimizer
) -> Iterator[Any]:
    """What opt_einsum takes as an optimizer, each only if those before kept to no limit."""
    wanted = optimizer == "cotengra" or (optimizer == "auto" and find_spec("cotengra") is not None)
    if wanted:
        search = _cotengra()
        if len(one.operands) > 2:
            operands = [tuple(dict.fromkeys(indices)) for _, indices in one.operands]
            output = tuple(dict.fromkeys(i for i in one.output if i not in one.summed))
            yield list(search(operands, output, dict(enumerate(sizes))))
    yield "auto"
    if limit is not None and len(one.operands) <= MOST_SEARCHED:
        yield opt_einsum.DynamicProgramming(minimize="size")


def _cotengra() -> Any:
    try:
        import cotengra  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ImportError(
            "expected cotengra to look for an order of contraction, got no such package. It comes "
            "with an extra: pip install 'unmask[tensor]'."
        ) from error
    return cotengra.AutoOptimizer()


def _memory(
    path: tuple[tuple[int, ...], ...],
    operands: list[tuple[int, ...]],
    output: set[int],
    sizes: tuple[int, ...],
    whole: float,
) -> tuple[float, float]:
    """Elements of the largest array that is made, and of all that are held at once at most.

    A step of more than two operands is counted with all its indices, as a library may make them.
    """
    # Indices, and elements where the array was made on the way.
    held: list[tuple[set[int], float]] = [(set(indices), 0.0) for indices in operands]
    given = sum(_size(indices, sizes) for indices in operands)
    uses = Counter(index for indices, _ in held for index in indices) + Counter(output)
    largest, peak, live = whole, given + whole, 0.0
    for step in path:
        taken = [held.pop(place) for place in sorted(step, reverse=True)]
        joined = set().union(*(indices for indices, _ in taken))
        uses.subtract(index for indices, _ in taken for index in indices)
        left = {index for index in joined if uses[index]}
        uses.update(left)
        size = _size(joined if len(taken) > 2 else left, sizes)
        largest, peak = max(largest, size), max(peak, given + live + size)
        live += size - sum(elements for _, elements in taken)
        held.append((left, size))
    return largest, peak


def _size(indices: set[int] | tuple[int, ...], sizes: tuple[int, ...]) -> float:
    return float(prod(sizes[i] for i in indices))


def _value(
    term: Diagram,
    arrays: Arrays,
    sizes: Mapping[str, int],
    limit: int | None,
    optimizer: Optimizer,
) -> Array:
    run = _planned(term, sizes, limit, optimizer)[1]
    one = contraction(term)
    if run is None:
        # Without tensors the value is a number still, in the library of those elsewhere.
        value: Array = np.ones(())
        return _spread(_like(next(iter(arrays.values())), value) if arrays else value, one, sizes)
    value = run(
        *(_node_value(term, number, arrays, sizes, limit, optimizer) for number, _ in one.operands)
    )
    return _spread(value, one, sizes)


def _node_value(
    term: Diagram,
    number: int,
    arrays: Arrays,
    sizes: Mapping[str, int],
    limit: int | None,
    optimizer: Optimizer,
) -> Array:
    node = term.nodes[number]
    if isinstance(node, Tensor):
        array = arrays[node.name]
        return library(array).conj(array) if node.conjugate else array
    assert isinstance(node, Function), "copies hold no values, and derivatives are carried out"
    inside = evaluate(node.inner, arrays, sizes=sizes, memory_limit=limit, optimizer=optimizer)
    names = [leg.name for leg in node.legs]
    return FUNCTIONS[node.name].apply(inside, tuple(names.index(leg) for leg in node.along))


def _spread(value: Array, one: Contraction, sizes: Mapping[str, int]) -> Array:
    """Put in what einsum cannot: factors, axes of ones, and diagonals."""
    if not one.summed and len(set(one.output)) == len(one.output):
        return value
    axes = list(dict.fromkeys(i for i in one.output if i not in one.summed))
    for index in one.summed:
        size = sizes[one.dims[index]]
        if index in one.output:
            value = value[..., None] * _like(value, np.ones(size))
            axes.append(index)
        else:
            value = value * size
    for index in dict.fromkeys(one.output):
        for _ in range(one.output.count(index) - 1):
            value = value[..., None] * _identity(value, axes.index(index), sizes[one.dims[index]])
            axes.append(index)
    places = []
    for index in one.output:
        places.append(next(p for p, i in enumerate(axes) if i == index and p not in places))
    return permute(value, places)


def _identity(value: Array, axis: int, size: int) -> Array:
    """An identity along an axis of `value` and a new last one, which broadcasts along the rest."""
    shape = [1] * value.ndim + [size]
    shape[axis] = size
    return _like(value, np.eye(size).reshape(shape))


def _like(value: Array, array: np.ndarray) -> Array:
    """An array in the library, type and place of another."""
    if _is_torch(value):
        return library(value).as_tensor(array, dtype=value.dtype, device=value.device)
    return array.astype(value.dtype)


def _is_torch(array: Array) -> bool:
    return library(array).__name__ == "torch"


def code(diagram: Diagram, arrays: Arrays | None = None) -> str:
    """Print a diagram back as einsum code; with its cost, if arrays are given.

    Raises:
        DiagramError: If it has functions, or is no plain einsum.
    """
    one = contraction(diagram)
    if any(isinstance(node, Box) for node in diagram.nodes):
        raise DiagramError(
            f"expected tensors and copies only, got a function in {diagram}. Print what is inside "
            "of it, apply the function, and go on from there."
        )
    if len(set(one.output)) < len(one.output) or one.summed:
        raise DiagramError(
            f"expected a plain einsum, got a diagonal or a copy that joins no tensor in {diagram}. "
            "Evaluate it, or bring in an identity as a tensor."
        )
    names = [
        f"{node.name}.conj()" if node.conjugate else node.name
        for number, _ in one.operands
        if isinstance(node := diagram.nodes[number], Tensor)
    ]
    text = f"contract({', '.join([repr(_said(one)), *names])})"
    return text if arrays is None else f"{text}  # {plan(diagram, arrays)[0]}"
