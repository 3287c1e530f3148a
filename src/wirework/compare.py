"""When two diagrams are the same: by their connections, up to symmetries, or by their values."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from wirework.diagram import (
    Box,
    Copy,
    Derivative,
    Diagram,
    Expression,
    Node,
    Sum,
    Tensor,
    nodes_of,
    terms,
)
from wirework.errors import DiagramError
from wirework.isomorphism import Graph, isomorphic
from wirework.values import contraction, evaluate


def isotopic(a: Diagram, b: Diagram) -> bool:
    """Whether one is the other with tensors moved around: the same nodes, joined in the same way.

    Where tensors are drawn, and in which order they are listed, does not matter; which leg is
    joined to which does. Open legs are told apart by name.
    """
    return _alike(a, b, loose=False)


def equal(a: Expression, b: Expression) -> bool:
    """Whether two expressions are the same up to symmetries, fused copies and the order of terms.

    Symmetric legs may be exchanged, joined copies are one copy, and equal terms are added up. True
    means equal values; False does not mean different ones (see `same_value`).
    """
    return _same_terms(terms(collect(a)), terms(collect(b)), loose=True)


def collect(expression: Expression) -> Expression:
    """Add up equal terms; those that cancel are left out."""
    if isinstance(expression, Diagram):
        return expression
    kept: list[tuple[float, Diagram]] = []
    places: dict[Hashable, list[int]] = {}
    for coefficient, term in expression.terms:
        # Only terms of the same nodes can be equal, which is quick to see.
        similar = places.setdefault(_nodes(term), [])
        place = next((n for n in similar if _alike(term, kept[n][1], loose=True)), None)
        if place is None:
            similar.append(len(kept))
            kept.append((coefficient, term))
        else:
            kept[place] = (kept[place][0] + coefficient, kept[place][1])
    return Sum(tuple((c, term) for c, term in kept if c != 0), expression.legs)


def same_value(
    a: Expression, b: Expression, *, size: int = 3, draws: int = 3, seed: int = 0
) -> bool:
    """Whether two expressions have the same value for arrays drawn at random.

    Every dimension gets a size of its own, from `size` up, so that mixed-up legs show. Arrays are
    normal, in double precision; symmetric ones are made so. Two expressions that differ as
    polynomials of their tensors agree on such arrays with probability zero (Schwartz-Zippel).
    """
    if {leg.name: leg.dim for leg in a.legs} != {leg.name: leg.dim for leg in b.legs}:
        return False
    order = [leg.name for leg in a.legs]
    for draw in range(draws):
        arrays, sizes = bind((a, b), size=size, seed=seed + draw)
        first = evaluate(a, arrays, sizes=sizes)
        second = evaluate(b, arrays, sizes=sizes)
        names = [leg.name for leg in b.legs]
        second = second.transpose([names.index(name) for name in order])
        scale = max(float(np.abs(first).max(initial=0)), float(np.abs(second).max(initial=0)), 1.0)
        if not np.allclose(first, second, rtol=1e-9, atol=1e-9 * scale):
            return False
    return True


def bind(
    expressions: tuple[Expression, ...], *, size: int = 3, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Draw an array for every tensor, and a size for every dimension."""
    nodes = [node for one in expressions for node in nodes_of(one)]
    dims = dict.fromkeys(leg.dim for node in nodes for leg in node.legs)
    sizes = {dim: size + place % 3 for place, dim in enumerate(dims)}
    for node in nodes:
        if isinstance(node, Tensor) and node.isometry:
            _make_room(node, sizes)
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for node in nodes:
        if isinstance(node, Tensor) and node.name not in arrays:
            drawn = rng.standard_normal([sizes[leg.dim] for leg in node.legs])
            arrays[node.name] = _as_declared(drawn, node)
    return arrays, sizes


def _make_room(node: Tensor, sizes: dict[str, int]) -> None:
    """Let an isometry's other legs have at least as many dimensions as its bonds.

    Raises:
        DiagramError: If they are of the same dimensions as the bonds, and fewer.
    """
    bonds = [node.legs[leg].dim for leg in node.isometry]
    rest = [leg.dim for place, leg in enumerate(node.legs) if place not in node.isometry]
    free = next((dim for dim in rest if dim not in bonds), None)

    def spare() -> int:
        sides = [int(np.prod([sizes[dim] for dim in some])) for some in (rest, bonds)]
        return sides[0] - sides[1]

    # With as many it would be unitary, which is more than was said.
    while free is not None and spare() <= 0:
        sizes[free] += 1
    if spare() < 0:
        raise DiagramError(
            f"expected an isometry from fewer dimensions to more, got {node} with bonds {bonds} "
            f"and {rest} beside them. Its bonds are probably the other legs."
        )


def _as_declared(drawn: np.ndarray, node: Tensor) -> np.ndarray:
    """Make an array what its tensor is said to be: zero, an isometry, symmetric."""
    if node.zero:
        return np.zeros_like(drawn)
    if not node.isometry:
        return _symmetrised(drawn, node.symmetric)
    rest = [leg for leg in range(drawn.ndim) if leg not in node.isometry]
    turned = drawn.transpose([*rest, *node.isometry])
    n_bond = int(np.prod([drawn.shape[leg] for leg in node.isometry]))
    q = np.linalg.qr(turned.reshape(-1, n_bond))[0]
    return q.reshape(turned.shape).transpose(np.argsort([*rest, *node.isometry]))


def _symmetrised(array: np.ndarray, groups: tuple[tuple[int, ...], ...]) -> np.ndarray:
    from itertools import permutations

    for group in groups:
        parts = []
        for order in permutations(group):
            axes = list(range(array.ndim))
            for place, axis in zip(group, order, strict=True):
                axes[place] = axis
            parts.append(array.transpose(axes))
        array = sum(parts[1:], parts[0]) / len(parts)
    return array


def _same_terms(
    a: Sequence[tuple[float, Diagram]], b: Sequence[tuple[float, Diagram]], *, loose: bool
) -> bool:
    """Whether the terms can be paired."""
    left = list(b)
    for coefficient, term in a:
        for place, (other_coefficient, other) in enumerate(left):
            if coefficient == other_coefficient and _alike(term, other, loose=loose):
                del left[place]
                break
        else:
            return False
    return not left


def _alike(a: Diagram, b: Diagram, *, loose: bool) -> bool:
    """Whether the graphs of two diagrams are the same.

    Args:
        a: One diagram.
        b: The other.
        loose: Fuse copies, exchange symmetric legs, and collect terms within boxes.
    """
    insides: list[Expression] = []
    return isomorphic(*(_graph(one, insides, loose) for one in (a, b)))


def _graph(diagram: Diagram, insides: list[Expression], loose: bool) -> Graph:
    """Nodes and open ends as a coloured graph, wires as its edges.

    Args:
        diagram: What is written as a graph.
        insides: What stands in boxes, each once; a box has its number as colour.
        loose: A node for each index instead of copies.
    """
    graph = Graph()
    opened = [graph.add(("open", one.leg.name)) for one in diagram.open]
    if loose:
        one = contraction(diagram)
        dots = {index: graph.add(("copy", dim)) for index, dim in one.dims.items()}
        for number, indices in one.operands:
            node = diagram.nodes[number]
            here = graph.add(_colour(node, insides, loose))
            for leg, index in enumerate(indices):
                graph.join(here, dots[index], _place(node, leg, loose))
        for end, index in zip(opened, one.output, strict=True):
            graph.join(end, dots[index])
        return graph
    places = [graph.add(_colour(node, insides, loose)) for node in diagram.nodes]

    def label(port: tuple[int, int]) -> Hashable:
        return _place(diagram.nodes[port[0]], port[1], loose)

    for first, second in diagram.wires:
        graph.join(places[first.node], places[second.node], label(first), label(second))
    for end, one in zip(opened, diagram.open, strict=True):
        graph.join(end, places[one.port.node], None, label(one.port))
    return graph


def _nodes(diagram: Diagram) -> Hashable:
    """How many there are of each tensor and box, which equal diagrams have in common."""
    counted = Counter(
        (type(node).__name__, node.name, getattr(node, "conjugate", False))
        for node in diagram.nodes
        if not isinstance(node, Copy)
    )
    return frozenset(counted.items())


def _colour(node: Node, insides: list[Expression], loose: bool) -> Hashable:
    if isinstance(node, Tensor):
        return ("tensor", node.name, node.conjugate)
    if isinstance(node, Copy):
        return ("copy", len(node.legs), node.legs[0].dim)
    number = _number(node.inner, insides, loose)
    if isinstance(node, Derivative):
        return ("derivative", node.name, number)
    return ("function", node.name, frozenset(node.along), number)


def _number(inner: Expression, insides: list[Expression], loose: bool) -> int:
    """The number of an expression among those that are told apart."""
    mine = terms(collect(inner)) if loose else terms(inner)
    for number, other in enumerate(insides):
        theirs = terms(collect(other)) if loose else terms(other)
        same_legs = {leg.name for leg in inner.legs} == {leg.name for leg in other.legs}
        if same_legs and _same_terms(mine, theirs, loose=loose):
            return number
    insides.append(inner)
    return len(insides) - 1


def _place(node: Node, leg: int, loose: bool) -> Hashable:
    """What tells a leg from the others of its node."""
    if isinstance(node, Copy):
        return "any"
    if isinstance(node, Box):
        n_inside = len(node.inner.legs)
        return node.legs[leg].name if leg < n_inside else leg - n_inside
    if loose:
        for group in node.symmetric:
            if leg in group:
                return min(group)
    return leg
