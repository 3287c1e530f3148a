"""When two diagrams are the same: by their connections, up to symmetries, or by their values."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

from wirework.diagram import Copy, Diagram, Expression, Function, Node, Port, Tensor, terms
from wirework.errors import DiagramError
from wirework.values import contraction, evaluate


def isotopic(a: Diagram, b: Diagram) -> bool:
    """Whether one is the other with tensors moved around: the same nodes, joined in the same way.

    Where tensors are drawn, and in which order they are listed, does not matter; which leg is
    joined to which does. Open legs are told apart by name.
    """
    return _isomorphic(_graph(a, loose=False), _graph(b, loose=False))


def equal(a: Expression, b: Expression) -> bool:
    """Whether two expressions are the same up to symmetries, fused copies and the order of terms.

    Symmetric legs may be exchanged, joined copies are one copy, and equal terms are added up. True
    means equal values; False does not mean different ones (see `same_value`).
    """
    left, right = _collected(a), _collected(b)
    if len(left) != len(right):
        return False
    for coefficient, graph in left:
        match = next(
            (n for n, (c, g) in enumerate(right) if c == coefficient and _isomorphic(graph, g)),
            None,
        )
        if match is None:
            return False
        right.pop(match)
    return True


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
    nodes = [node for one in expressions for node in _all_nodes(one)]
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


def _all_nodes(expression: Expression) -> list[Node]:
    found: list[Node] = []
    for _, term in terms(expression):
        for node in term.nodes:
            found.append(node)
            if isinstance(node, Function):
                found += _all_nodes(node.inner)
    return found


def _collected(a: Expression) -> list[tuple[float, Any]]:
    """Coefficients and graphs of the terms, equal ones added up, those of zero left out."""
    kept: list[tuple[float, Any]] = []
    for coefficient, term in terms(a):
        graph = _graph(term, loose=True)
        for place, (before, other) in enumerate(kept):
            if _isomorphic(graph, other):
                kept[place] = (before + coefficient, other)
                break
        else:
            kept.append((coefficient, graph))
    return [(c, graph) for c, graph in kept if c != 0]


def _graph(diagram: Diagram, *, loose: bool) -> Any:
    """Nodes, their legs and the open ends as a coloured graph.

    Args:
        diagram: What is written as a graph.
        loose: Fuse copies, and give symmetric legs one colour.
    """
    graph = nx.Graph()
    wires, opened, copies = _fused(diagram) if loose else (list(diagram.wires), None, None)
    for number, node in enumerate(diagram.nodes):
        if copies is not None and isinstance(node, Copy):
            continue
        graph.add_node(number, colour=_colour(node, loose))
        for leg in range(len(node.legs)):
            port = Port(number, leg)
            graph.add_node(port, colour=("leg", _place(node, leg, loose)))
            graph.add_edge(number, port)
    for number, dim in copies or ():
        graph.add_node(number, colour=("copy", dim))
    graph.add_edges_from(wires)
    for name, port in opened or [(one.leg.name, one.port) for one in diagram.open]:
        graph.add_node(("open", name), colour=("open", name))
        graph.add_edge(("open", name), port)
    return graph


def _fused(diagram: Diagram) -> tuple[list[Any], list[Any], list[Any]]:
    """Every index as one dot: edges from legs to dots, open ends, and the dots."""
    one = contraction(diagram)
    edges = [
        (Port(number, leg), ("dot", index))
        for number, indices in one.operands
        for leg, index in enumerate(indices)
    ]
    opened = [
        (end.leg.name, ("dot", index)) for end, index in zip(diagram.open, one.output, strict=True)
    ]
    return edges, opened, [(("dot", index), dim) for index, dim in one.dims.items()]


def _colour(node: Node, loose: bool) -> Any:
    if isinstance(node, Tensor):
        return ("tensor", node.name, node.conjugate)
    if isinstance(node, Copy):
        return ("copy", len(node.legs))
    # Expressions inside functions are compared as they are written.
    return ("function", node.name, node.along, str(node.inner), loose)


def _place(node: Node, leg: int, loose: bool) -> Any:
    """What tells a leg from the others of its node."""
    if isinstance(node, Copy):
        return "any"
    if isinstance(node, Function):
        return node.legs[leg].name
    if loose:
        for group in node.symmetric:
            if leg in group:
                return min(group)
    return leg


def _isomorphic(a: Any, b: Any) -> bool:
    def same(x: Mapping[str, Any], y: Mapping[str, Any]) -> bool:
        return x["colour"] == y["colour"]

    return nx.is_isomorphic(a, b, node_match=same)
