"""Expectations over Gaussian tensors."""

from wirework.algebra import cut
from wirework.derivative import expand
from wirework.diagram import Diagram, Expression, Leg, Open, Port, Sum, Tensor, terms
from wirework.errors import DiagramError
from wirework.rules.identity import identity


def expectation(
    expression: Expression, name: str, *, mean: str | None = None, covariance: str = "Sigma"
) -> Expression:
    """Take the expectation over a Gaussian tensor that the expression is a polynomial of.

    Every way to pair some of the places where the tensor stands gives a term: a pair becomes the
    covariance, what is left over the mean.

    Args:
        expression: What depends on the tensor.
        name: Of the tensor, with legs ``a b ...``.
        mean: Name of its mean, with the same legs; None if it is zero.
        covariance: Name of its covariance, with legs ``a b ... a b ...``.

    Raises:
        DiagramError: If the tensor stands within a function, or is conjugated.

    Source: Isserlis (1918); Wick's theorem.
    """
    parts = [
        (coefficient, part)
        for coefficient, term in terms(expand(expression))
        for part in _pairings(term, name, mean, covariance)
    ]
    return Sum(tuple(parts), expression.legs)


def _pairings(term: Diagram, name: str, mean: str | None, covariance: str) -> list[Diagram]:
    places = [n for n, node in enumerate(term.nodes) if name in _names(node)]
    if not places:
        return [term]
    first, *others = places
    node = term.nodes[first]
    if not isinstance(node, Tensor) or node.conjugate:
        raise DiagramError(
            f"expected {name!r} as a plain tensor, got {node}. Only polynomials have an "
            "expectation in closed form; leave functions out, or sample."
        )
    found: list[Diagram] = []
    if mean is not None:
        found += _pairings(_put(term, (first,), mean), name, mean, covariance)
    for other in others:
        found += _pairings(_put(term, (first, other), covariance), name, mean, covariance)
    return found


def _names(node: object) -> tuple[str, ...]:
    if isinstance(node, Tensor):
        return (node.name,)
    return getattr(getattr(node, "inner", None), "tensors", ())


def _put(term: Diagram, places: tuple[int, ...], name: str) -> Diagram:
    """Replace nodes by one tensor that has all their legs."""
    legs: list[Leg] = []
    # From the last place on, so that the numbers of those before stay.
    for place in sorted(places, reverse=True):
        node = term.nodes[place]
        names = [f"put {place} {number}" for number in range(len(node.legs))]
        legs = [*(Leg(n, leg.dim) for n, leg in zip(names, node.legs, strict=True)), *legs]
        term = cut(term, place, names)
    wanted = {leg.name: number for number, leg in enumerate(legs)}
    new = len(term.nodes)
    wires = [
        (one.port, Port(new, wanted[one.leg.name])) for one in term.open if one.leg.name in wanted
    ]
    kept: tuple[Open, ...] = tuple(one for one in term.open if one.leg.name not in wanted)
    tensor = Tensor(name, tuple(Leg(f"{leg.dim}{n}", leg.dim) for n, leg in enumerate(legs)))
    joined = Diagram((*term.nodes, tensor), (*term.wires, *wires), kept)
    return identity(joined) or joined
