"""The value of an expression, contracted by opt_einsum in an order that is planned first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import opt_einsum

from wirework.diagram import Diagram, Expression, Function, Port, Tensor, terms
from wirework.errors import DiagramError, MemoryLimitError, ValueMissingError
from wirework.functions import FUNCTIONS, Array, library

Arrays = Mapping[str, Array]


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

    def __str__(self) -> str:
        """On one line."""
        return f"{self.flops:.3g} FLOPs, largest array {self.largest:.3g} elements"


def contraction(diagram: Diagram) -> Contraction:
    """Give one index to all legs that wires and copies join."""
    parent: dict[Port, Port] = {port: port for port in diagram.ports()}

    def root(port: Port) -> Port:
        while parent[port] != port:
            port = parent[port]
        return port

    for first, second in diagram.wires:
        parent[root(first)] = root(second)
    holders = []
    for number, node in enumerate(diagram.nodes):
        ports = [Port(number, leg) for leg in range(len(node.legs))]
        if isinstance(node, Tensor | Function):
            holders.append((number, ports))
            continue
        for port in ports[1:]:
            parent[root(port)] = root(ports[0])
    numbers: dict[Port, int] = {}
    for port in parent:
        numbers.setdefault(root(port), len(numbers))
    dims = {numbers[root(port)]: diagram.leg(port).dim for port in diagram.ports()}
    operands = tuple(
        (number, tuple(numbers[root(port)] for port in ports)) for number, ports in holders
    )
    held = {index for _, indices in operands for index in indices}
    output = tuple(numbers[root(one.port)] for one in diagram.open)
    return Contraction(operands, output, dims, tuple(i for i in dims if i not in held))


def evaluate(
    expression: Expression,
    arrays: Arrays,
    *,
    sizes: Mapping[str, int] | None = None,
    memory_limit: int | None = None,
) -> Array:
    """Compute the value.

    Args:
        expression: Its open legs are the value's axes, in order.
        arrays: By tensor name: numpy arrays, or torch tensors.
        sizes: Of dimensions that no array has, by name.
        memory_limit: Most elements of any array that is made on the way.

    Raises:
        ValueMissingError: If an array or a size is missing, or does not fit.
        MemoryLimitError: If no order of contraction that was found keeps to the limit.
    """
    known = sizes_of(expression, arrays, sizes)
    total: Array | None = None
    for coefficient, term in terms(expression):
        part = coefficient * _value(term, arrays, known, memory_limit)
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
) -> tuple[Plan, ...]:
    """Plan the contraction of each term, and of what stands in functions, without running any.

    The arguments and errors are those of `evaluate`; of the arrays only the shapes are used.
    """
    known = sizes_of(expression, arrays, sizes)
    found: list[Plan] = []
    for _, term in terms(expression):
        found.append(_plan(term, known, memory_limit)[0])
        for node in term.nodes:
            if isinstance(node, Function):
                inner = plan(node.inner, arrays, sizes=known, memory_limit=memory_limit)
                found += inner
    return tuple(found)


def sizes_of(
    expression: Expression, arrays: Arrays, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Read the size of each dimension from the arrays.

    Raises:
        ValueMissingError: If an array or size is missing, or two do not agree.
    """
    known: dict[str, tuple[int, str]] = {d: (n, "sizes") for d, n in (sizes or {}).items()}
    _read_sizes(expression, arrays, known)
    return {dim: size for dim, (size, _) in known.items()}


def _read_sizes(expression: Expression, arrays: Arrays, known: dict[str, tuple[int, str]]) -> None:
    for _, term in terms(expression):
        for node in term.nodes:
            if isinstance(node, Function):
                _read_sizes(node.inner, arrays, known)
            if not isinstance(node, Tensor):
                continue
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
                before, where = known.setdefault(leg.dim, (size, str(node)))
                if before != size:
                    raise ValueMissingError(
                        f"expected size {before} for dimension {leg.dim!r}, as in {where}, got "
                        f"{size} in leg {leg.name!r} of {node}. An array is probably transposed, "
                        "or two dimensions have one name."
                    )


def _plan(
    term: Diagram, sizes: Mapping[str, int], memory_limit: int | None
) -> tuple[Plan, str, list[tuple[int, ...]], Contraction]:
    one = contraction(term)
    for index, dim in one.dims.items():
        if dim not in sizes:
            raise ValueMissingError(
                f"expected a size for dimension {dim!r} (index {index}), got: "
                f"{', '.join(sizes) or 'none'}. No array has it; pass sizes={{{dim!r}: n}}."
            )
    # An index that no operand has, or that stands twice in the output, is put in afterwards.
    output = tuple(dict.fromkeys(i for i in one.output if i not in one.summed))
    symbols = {index: opt_einsum.get_symbol(index) for index in one.dims}
    said = ",".join("".join(symbols[i] for i in indices) for _, indices in one.operands)
    said += "->" + "".join(symbols[i] for i in output)
    shapes = [tuple(sizes[one.dims[i]] for i in indices) for _, indices in one.operands]
    if not shapes:
        return Plan((), 0.0, 1.0), said, shapes, one
    path, info = opt_einsum.contract_path(
        said, *shapes, shapes=True, optimize="auto", memory_limit=memory_limit
    )
    whole = float(np.prod([float(sizes[one.dims[i]]) for i in one.output]))
    # What opt_einsum calls the largest intermediate is 0 or 1 where there is none.
    largest = max(float(info.largest_intermediate), whole)
    if memory_limit is not None and largest > memory_limit:
        raise MemoryLimitError(
            f"expected arrays of at most {memory_limit} elements, got {largest:.3g} at least for "
            f"{term}. The value itself has {whole:.3g}; raise the limit, or leave fewer legs open."
        )
    return Plan(tuple(map(tuple, path)), float(info.opt_cost), largest), said, shapes, one


def _value(
    term: Diagram, arrays: Arrays, sizes: Mapping[str, int], memory_limit: int | None
) -> Array:
    planned, said, _, one = _plan(term, sizes, memory_limit)
    operands = [
        _node_value(term, number, arrays, sizes, memory_limit) for number, _ in one.operands
    ]
    # Without tensors the value is a number still, in the library of those elsewhere.
    value: Array = np.ones(())
    if arrays and not operands:
        value = _like(next(iter(arrays.values())), value)
    if operands:
        value = opt_einsum.contract(said, *operands, optimize=list(planned.path))
    return _spread(value, one, sizes)


def _node_value(
    term: Diagram, number: int, arrays: Arrays, sizes: Mapping[str, int], limit: int | None
) -> Array:
    node = term.nodes[number]
    if isinstance(node, Tensor):
        array = arrays[node.name]
        return library(array).conj(array) if node.conjugate else array
    assert isinstance(node, Function), "copies hold no values"
    inside = evaluate(node.inner, arrays, sizes=sizes, memory_limit=limit)
    names = [leg.name for leg in node.legs]
    return FUNCTIONS[node.name].apply(inside, tuple(names.index(leg) for leg in node.along))


def _spread(value: Array, one: Contraction, sizes: Mapping[str, int]) -> Array:
    """Put in what einsum cannot: factors, axes of ones, and diagonals."""
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
    return library(value).permute(value, places) if _is_torch(value) else value.transpose(places)


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
    if any(isinstance(diagram.nodes[number], Function) for number, _ in one.operands):
        raise DiagramError(
            f"expected tensors and copies only, got a function in {diagram}. Print what is inside "
            "of it, apply the function, and go on from there."
        )
    if len(set(one.output)) < len(one.output) or one.summed:
        raise DiagramError(
            f"expected a plain einsum, got a diagonal or a copy that joins no tensor in {diagram}. "
            "Evaluate it, or bring in an identity as a tensor."
        )
    symbols = {index: opt_einsum.get_symbol(index) for index in one.dims}
    said = ",".join("".join(symbols[i] for i in indices) for _, indices in one.operands)
    said += "->" + "".join(symbols[i] for i in one.output)
    names = [
        f"{node.name}.conj()" if node.conjugate else node.name
        for number, _ in one.operands
        if isinstance(node := diagram.nodes[number], Tensor)
    ]
    text = f"contract({', '.join([repr(said), *names])})"
    return text if arrays is None else f"{text}  # {plan(diagram, arrays)[0]}"
