"""Equal terms within a box are added up, and a sum of one is its term."""

from dataclasses import replace

from wirework.compare import collect
from wirework.diagram import Box, Diagram, Expression, Node, Sum


def sums(diagram: Diagram) -> Diagram | None:
    """Add up terms within boxes; `wirework.simplify.steps` does so outside of them in the end."""
    nodes = tuple(map(_collected, diagram.nodes))
    return None if nodes == diagram.nodes else replace(diagram, nodes=nodes)


def _collected(node: Node) -> Node:
    if not isinstance(node, Box) or isinstance(node.inner, Diagram):
        return node
    inner: Expression = collect(node.inner)
    if isinstance(inner, Sum) and len(inner.terms) == 1 and inner.terms[0][0] == 1:
        inner = inner.terms[0][1]
    return replace(node, inner=inner)
