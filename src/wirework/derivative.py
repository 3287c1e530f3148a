"""Derivatives of expressions, as expressions.

Where a diagram is linear in a tensor, the derivative is the diagram without it, and the wires that
it held are open. A product has a term for each place where the tensor stands; a function has a rule
that takes the derivative of what is inside.
"""

from collections.abc import Callable, Iterator, Sequence

from wirework.algebra import add, apply, product, rename, scale, trace
from wirework.diagram import (
    Copy,
    Diagram,
    Expression,
    Function,
    Leg,
    Open,
    Port,
    Sum,
    Tensor,
    copy,
    of_node,
    terms,
)
from wirework.errors import DiagramError
from wirework.functions import EPS
from wirework.rules.identity import identity

Rule = Callable[[Expression, Expression, tuple[str, ...]], Expression]
"""Of what is inside, its derivative, and the legs along which the function acts."""


def derivative(expression: Expression, name: str) -> Expression:
    """Differentiate with respect to every entry of a tensor.

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
    found = next((node for node in _nodes(expression) if _is(node, name)), None)
    if found is None:
        raise DiagramError(
            f"expected a tensor among {', '.join(expression.tensors) or 'none'}, got {name!r}. "
            "The expression does not depend on it; check the spelling."
        )
    taken = {leg.name for legs in _open_legs(expression) for leg in legs}
    fresh: list[Leg] = []
    for leg in found.legs:
        primed = leg.name
        while primed in taken:
            primed += "'"
        taken.add(primed)
        fresh.append(Leg(primed, leg.dim))
    return _derivative(expression, name, fresh)


def _derivative(expression: Expression, name: str, fresh: Sequence[Leg]) -> Expression:
    total: Expression = Sum((), (*expression.legs, *fresh))
    for coefficient, term in terms(expression):
        for number, node in enumerate(term.nodes):
            if _is(node, name):
                assert isinstance(node, Tensor)
                if node.conjugate:
                    raise DiagramError(
                        f"expected {name!r} without conjugation, got {node}. A conjugate has no "
                        "complex derivative; differentiate with respect to real tensors."
                    )
                part: Expression = cut(term, number, [leg.name for leg in fresh])
            elif isinstance(node, Function) and name in node.inner.tensors:
                part = _through(term, number, node, name, fresh)
            else:
                continue
            total = add(total, scale(_clean(part), coefficient))
    return total


def _through(
    term: Diagram, number: int, node: Function, name: str, fresh: Sequence[Leg]
) -> Expression:
    """The chain rule at one function."""
    if node.name not in RULES:
        raise DiagramError(
            f"expected a function with a derivative, among {', '.join(RULES)}, got {node.name!r}. "
            "Add its rule to wirework.derivative.RULES."
        )
    inside = _derivative(node.inner, name, fresh)
    changed = RULES[node.name](node.inner, inside, node.along)
    names = [f"{leg.name} of {number}" for leg in node.legs]
    rest = cut(term, number, names)
    pairs = [(one, leg.name) for one, leg in zip(names, node.legs, strict=True)]
    return product(rest, changed, pairs)


def cut(term: Diagram, number: int, names: Sequence[str]) -> Diagram:
    """Take a node out; each of its legs ends in an open one of the name given for it."""
    node = term.nodes[number]
    stubs = [Copy((leg, leg)) for leg in node.legs]
    kept = [n for place, n in enumerate(term.nodes) if place != number]
    n_kept = len(kept)

    def moved(port: Port) -> Port:
        if port.node == number:
            return Port(n_kept + port.leg, 0)
        return Port(port.node - (port.node > number), port.leg)

    wires = tuple((moved(a), moved(b)) for a, b in term.wires)
    opened = [Open(one.leg, moved(one.port)) for one in term.open]
    for place, (name, leg) in enumerate(zip(names, node.legs, strict=True)):
        opened.append(Open(Leg(name, leg.dim), Port(n_kept + place, 1)))
    return Diagram((*kept, *stubs), wires, tuple(opened))


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


def _clean(expression: Expression) -> Expression:
    """Take out identities, of which cutting leaves many."""

    def one(term: Diagram) -> Diagram:
        while (simpler := identity(term)) is not None:
            term = simpler
        return term

    if isinstance(expression, Diagram):
        return one(expression)
    return Sum(tuple((c, one(term)) for c, term in expression.terms), expression.legs)


def _elementwise(slope: Callable[[Expression], Expression]) -> Rule:
    return lambda inner, inside, along: hadamard(slope(inner), inside)


def _sigmoid_slope(u: Expression) -> Expression:
    risen = apply("sigmoid", u)
    return add(risen, scale(apply("square", risen), -1))


def _silu_slope(u: Expression) -> Expression:
    return add(apply("sigmoid", u), hadamard(u, _sigmoid_slope(u)))


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


def _is(node: object, name: str) -> bool:
    return isinstance(node, Tensor) and node.name == name


def _nodes(expression: Expression) -> Iterator[Tensor | Copy | Function]:
    for _, term in terms(expression):
        for node in term.nodes:
            yield node
            if isinstance(node, Function):
                yield from _nodes(node.inner)


def _open_legs(expression: Expression) -> Iterator[tuple[Leg, ...]]:
    yield expression.legs
    for node in _nodes(expression):
        if isinstance(node, Function):
            yield node.legs
