"""Derivatives of expressions, as expressions.

Where a diagram is linear in a tensor, the derivative is the diagram without it, and the wires that
it held are open. A product has a term for each place where the tensor stands; a function has a rule
that takes the derivative of what is inside.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from wirework.algebra import add, apply, cut, product, put, rename, scale, trace, transpose
from wirework.diagram import (
    Box,
    Copy,
    Derivative,
    Diagram,
    Expression,
    Function,
    Leg,
    Open,
    Port,
    Sum,
    Tensor,
    copy,
    nodes_of,
    of_node,
    terms,
)
from wirework.errors import DiagramError
from wirework.functions import EPS, GELU_CUBE, GELU_SLOPE
from wirework.rules.identity import identity

Rule = Callable[[Expression, Expression, tuple[str, ...]], Expression]
"""Of what is inside, its derivative, and the legs along which the function acts."""


def derivative(expression: Expression, name: str) -> Expression:
    """Differentiate with respect to every entry of a tensor, and carry it out.

    Args:
        expression: The legs of the tensor must be named alike wherever it stands, or be as many.
        name: Of the tensor.

    Returns:
        An expression whose open legs are those of `expression` and then one for each leg of the
        tensor, with its name and as many primes as it needs.

    Raises:
        DiagramError: If the tensor does not occur, or is conjugated, or a function has no
            derivative.
    """
    return expand(nabla(expression, name))


def nabla(expression: Expression, name: str) -> Diagram:
    """Differentiate without carrying it out: a loop around the expression, with legs of its own.

    The arguments are those of `derivative`; nabla of nabla is the second derivative.

    Raises:
        DiagramError: If the tensor does not occur.
    """
    nodes = tuple(nodes_of(expression))
    found = next((node for node in nodes if isinstance(node, Tensor) and node.name == name), None)
    if found is None:
        raise DiagramError(
            f"expected a tensor among {', '.join(expression.tensors) or 'none'}, got {name!r}. "
            "The expression does not depend on it; check the spelling."
        )
    taken = {leg.name for node in nodes if isinstance(node, Box) for leg in node.legs}
    taken |= {leg.name for leg in expression.legs}
    fresh: list[Leg] = []
    for leg in found.legs:
        primed = leg.name
        while primed in taken:
            primed += "'"
        taken.add(primed)
        fresh.append(Leg(primed, leg.dim))
    return of_node(Derivative(expression, name, tuple(fresh)))


def expand(expression: Expression) -> Expression:
    """Carry out the derivatives in an expression, within functions too.

    One rule at a time is shown by ``steps(expression, {**EXPANSION, **RULES})``.

    Returns:
        A sum, unless there was no derivative.

    Raises:
        DiagramError: If a tensor is conjugated, or a function has no derivative.
    """
    if not any(isinstance(node, Derivative) for node in nodes_of(expression)):
        return expression
    found: list[tuple[float, Diagram]] = []
    waiting = list(reversed(terms(expression)))
    while waiting:
        coefficient, term = waiting.pop()
        nodes = tuple(
            replace(node, inner=expand(node.inner)) if isinstance(node, Box) else node
            for node in term.nodes
        )
        if nodes != term.nodes:
            term = replace(term, nodes=nodes)
        new = next((new for rule in EXPANSION.values() if (new := rule(term)) is not None), None)
        if new is None:
            found.append((coefficient, term))
        else:
            waiting += [(coefficient * c, one) for c, one in reversed(terms(new))]
    return Sum(tuple(found), expression.legs)


def linearity(diagram: Diagram) -> Expression | None:
    """The derivative of a weighted sum is the sum of the derivatives."""
    for number, node in _derivatives(diagram):
        if isinstance(node.inner, Sum):
            parts = [(c, of_node(replace(node, inner=one))) for c, one in node.inner.terms]
            return put(diagram, number, Sum(tuple(parts), node.legs))
    return None


def product_rule(diagram: Diagram) -> Expression | None:
    """A term for each place where a product depends on the tensor: what is there is differentiated.

    That of the tensor itself is a wire for each of its legs, and of what does not depend on it
    nothing. Derivatives within the first one come before it.
    """
    for number, node in _derivatives(diagram):
        if isinstance(node.inner, Sum) or any(True for _ in _derivatives(node.inner)):
            continue
        if _alone(node.inner) is None:
            return put(diagram, number, _product(node.inner, node))
    return None


def chain_rule(diagram: Diagram) -> Expression | None:
    """The derivative of a function by what is inside, times the derivative of that."""
    for number, node in _derivatives(diagram):
        if isinstance(node.inner, Sum) or (box := _alone(node.inner)) is None:
            continue
        if isinstance(box, Function):
            if box.name not in RULES:
                raise DiagramError(
                    f"expected a function with a derivative, among {', '.join(RULES)}, got "
                    f"{box.name!r}. Add its rule to wirework.derivative.RULES."
                )
            inside = of_node(replace(node, inner=box.inner))
            changed = RULES[box.name](box.inner, inside, box.along)
            return put(diagram, number, _cleaned(changed, [leg.name for leg in node.legs]))
    return None


EXPANSION: Mapping[str, Callable[[Diagram], Expression | None]] = {
    "linearity": linearity,
    "product rule": product_rule,
    "chain rule": chain_rule,
}
"""Rules for `wirework.simplify.steps` that carry derivatives out."""


def _derivatives(diagram: Diagram) -> Iterator[tuple[int, Derivative]]:
    for number, node in enumerate(diagram.nodes):
        if isinstance(node, Derivative):
            yield number, node


def _alone(diagram: Diagram) -> Box | None:
    """The box that a diagram is, if it is nothing else."""
    node = diagram.nodes[0] if len(diagram.nodes) == 1 else None
    opened = tuple(Open(leg, Port(0, n)) for n, leg in enumerate(node.legs)) if node else ()
    return node if isinstance(node, Box) and diagram.open == opened else None


def _product(inner: Diagram, outer: Derivative) -> Expression:
    found: list[tuple[float, Diagram]] = []
    fresh = [leg.name for leg in outer.fresh]
    for number, node in enumerate(inner.nodes):
        if isinstance(node, Tensor) and node.name == outer.name:
            if node.conjugate:
                raise DiagramError(
                    f"expected {node.name!r} without conjugation, got {node}. A conjugate has no "
                    "complex derivative; differentiate with respect to real tensors."
                )
            found.append((1.0, cut(inner, number, fresh)))
        elif isinstance(node, Function) and outer.name in node.inner.tensors:
            part = put(inner, number, of_node(replace(outer, inner=of_node(node))))
            found += terms(part)
    return Sum(tuple(found), outer.legs)


def _cleaned(expression: Expression, order: Sequence[str]) -> Expression:
    """Take out identities, of which rules leave many, and put open legs into an order."""
    tidy = tuple((c, identity(term) or term) for c, term in terms(expression))
    return transpose(Sum(tidy, expression.legs), order)


def hadamard(a: Expression, b: Expression) -> Expression:
    """Multiply elementwise: legs of the same name are one axis, and the others stay as they are."""
    shared = [leg for leg in a.legs if leg.name in {other.name for other in b.legs}]
    joined = product(a, rename(b, {leg.name: f"{leg.name} of *" for leg in shared}))
    for leg in shared:
        dot = of_node(Copy(tuple(Leg(f"{leg.name} {end}", leg.dim) for end in ("a", "b", "out"))))
        pairs = [(leg.name, f"{leg.name} a"), (f"{leg.name} of *", f"{leg.name} b")]
        joined = rename(product(joined, dot, pairs), {f"{leg.name} out": leg.name})
    return joined


def total(a: Expression, legs: Sequence[str]) -> Expression:
    """Sum over open legs."""
    dims = {leg.name: leg.dim for leg in a.legs}
    for name in legs:
        a = product(a, of_node(Copy((Leg("end", dims[name]),))), [(name, "end")])
    return a


def mean(a: Expression, legs: Sequence[str]) -> Expression:
    """Average over open legs; the number of entries is a closed loop in the diagram."""
    dims = {leg.name: leg.dim for leg in a.legs}
    summed = total(a, legs)
    for name in legs:
        loop = trace(copy(f"a:{dims[name]} b:{dims[name]}"), "a", "b")
        summed = product(summed, apply("reciprocal", loop))
    return summed


def ones(legs: Sequence[Leg]) -> Expression:
    """One everywhere."""
    return Diagram(
        tuple(Copy((leg,)) for leg in legs),
        (),
        tuple(Open(leg, Port(number, 0)) for number, leg in enumerate(legs)),
    )


def _elementwise(slope: Callable[[Expression], Expression]) -> Rule:
    return lambda inner, inside, along: hadamard(slope(inner), inside)


def _sigmoid_slope(u: Expression) -> Expression:
    risen = apply("sigmoid", u)
    return add(risen, scale(apply("square", risen), -1))


def _silu_slope(u: Expression) -> Expression:
    return add(apply("sigmoid", u), hadamard(u, _sigmoid_slope(u)))


def _normal_density(u: Expression) -> Expression:
    return scale(apply("exp", scale(apply("square", u), -0.5)), (2 * math.pi) ** -0.5)


def _gelu_slope(u: Expression) -> Expression:
    return add(apply("normal_cdf", u), hadamard(u, _normal_density(u)))


def _gelu_tanh_slope(u: Expression) -> Expression:
    # y = u (1 + t) / 2 with t = tanh v and v = a (u + b u^3).
    squared = apply("square", u)
    v = scale(add(u, scale(hadamard(u, squared), GELU_CUBE)), GELU_SLOPE)
    t = apply("tanh", v)
    steepness = scale(add(ones(u.legs), scale(squared, 3 * GELU_CUBE)), GELU_SLOPE)
    inner = add(ones(u.legs), scale(apply("square", t), -1))
    slanted = hadamard(u, hadamard(inner, steepness))
    return scale(add(add(ones(u.legs), t), slanted), 0.5)


def _softmax(inner: Expression, inside: Expression, along: tuple[str, ...]) -> Expression:
    weights = apply("softmax", inner, " ".join(along))
    weighted = hadamard(weights, inside)
    return add(weighted, scale(hadamard(weights, total(weighted, along)), -1))


def _rms_norm(inner: Expression, inside: Expression, along: tuple[str, ...]) -> Expression:
    # y = u r with r = (mean u^2 + eps)^-1/2, so dy = r du - u r^3 mean(u du).
    square = mean(hadamard(inner, inner), along)
    beside = tuple(leg for leg in inner.legs if leg.name not in along)
    r = apply("rsqrt", add(square, scale(ones(beside), EPS)))
    cubed = hadamard(r, apply("square", r))
    slanted = hadamard(cubed, mean(hadamard(inner, inside), along))
    return add(hadamard(r, inside), scale(hadamard(inner, slanted), -1))


def _centred(u: Expression, along: tuple[str, ...]) -> Expression:
    dims = {leg.name: leg for leg in u.legs}
    spread = hadamard(mean(u, along), ones([dims[name] for name in along]))
    return add(u, scale(spread, -1))


def _layer_norm(inner: Expression, inside: Expression, along: tuple[str, ...]) -> Expression:
    return _rms_norm(_centred(inner, along), _centred(inside, along), along)


RULES: dict[str, Rule] = {
    "exp": _elementwise(lambda u: apply("exp", u)),
    "log": _elementwise(lambda u: apply("reciprocal", u)),
    "tanh": _elementwise(lambda u: add(ones(u.legs), scale(apply("square", apply("tanh", u)), -1))),
    "sigmoid": _elementwise(_sigmoid_slope),
    "silu": _elementwise(_silu_slope),
    "gelu": _elementwise(_gelu_slope),
    "gelu_tanh": _elementwise(_gelu_tanh_slope),
    "normal_cdf": _elementwise(_normal_density),
    "relu": _elementwise(lambda u: apply("step", u)),
    "step": lambda inner, inside, along: Sum((), inside.legs),
    "square": _elementwise(lambda u: scale(u, 2)),
    "reciprocal": _elementwise(lambda u: scale(apply("square", apply("reciprocal", u)), -1)),
    "rsqrt": _elementwise(
        lambda u: scale(hadamard(apply("reciprocal", u), apply("rsqrt", u)), -0.5)
    ),
    "softmax": _softmax,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
}
"""The derivative of each function. That of relu and step at 0 is taken to be 0."""
