"""The conjugate of a real tensor is the tensor."""

from dataclasses import replace

from wirework.diagram import Diagram, Tensor


def conjugation(diagram: Diagram) -> Diagram | None:
    """Take conjugation off real tensors."""
    nodes = tuple(
        replace(node, conjugate=False) if isinstance(node, Tensor) and node.real else node
        for node in diagram.nodes
    )
    return None if nodes == diagram.nodes else replace(diagram, nodes=nodes)
