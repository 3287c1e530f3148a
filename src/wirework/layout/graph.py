"""The graph that is laid out: boxes with ports on their sides, and wires between ports."""

from dataclasses import dataclass, field
from typing import Literal

from wirework.diagram import Copy, Diagram, Function, Leg, Node, Port, Tensor

Shape = Literal["tensor", "vector", "isometry", "copy", "function", "end", "bend"]

UNIT = 36.0
"""Height of a tensor with one or two legs, and the distance of rows; in points."""
CHARACTER = 7.5
"""Width of a label's character."""
LEG = 15.0
"""Distance of legs on one side."""


@dataclass
class Box:
    """Something that is placed."""

    key: object
    shape: Shape
    label: str
    width: float
    height: float
    left: list[Port] = field(default_factory=list)
    """Ports on the left side, from the top."""
    right: list[Port] = field(default_factory=list)
    column: int = 0
    x: float = 0.0
    """Of the centre."""
    y: float = 0.0

    def port(self, port: Port) -> tuple[float, float, int]:
        """Where a port is, and 1 if its wire leaves to the right, -1 if to the left."""
        side, sign = (self.right, 1) if port in self.right else (self.left, -1)
        if self.shape in ("copy", "bend", "end"):
            return self.x + sign * self.width / 2, self.y, sign
        place = side.index(port) - (len(side) - 1) / 2
        return self.x + sign * self.width / 2, self.y + place * LEG, sign

    def offset(self, port: Port) -> float:
        """How far below the centre a port is."""
        return self.port(port)[1] - self.y


def box_of(number: int, node: Node) -> Box:
    """The box of a node, without ports."""
    if isinstance(node, Copy):
        return Box(number, "copy", "", 7.0, 7.0)
    label = node.name + ("*" if isinstance(node, Tensor) and node.conjugate else "")
    shape: Shape = "tensor"
    if isinstance(node, Function):
        shape = "function"
    elif node.isometry:
        shape = "isometry"
    elif len(node.legs) == 1:
        shape = "vector"
    width = max(UNIT * 0.8, CHARACTER * len(label) + 16)
    return Box(number, shape, label, width, UNIT * 0.8)


def end_of(leg: Leg, port: Port) -> Box:
    """The end of an open leg, with its name."""
    width = CHARACTER * 0.85 * len(leg.name) + 4
    return Box(("open", leg.name), "end", leg.name, width, UNIT * 0.4)


def leans(diagram: Diagram, port: Port) -> float:
    """-1 if a leg is the first of its tensor, 1 if it is the last, between if between.

    Sides that a user gave count fully. Copies lean nowhere.
    """
    node, leg = diagram.nodes[port.node], diagram.leg(port)
    if leg.side in ("left", "right"):
        return 1.0 if leg.side == "right" else -1.0
    if isinstance(node, Copy):
        return 0.0
    n_legs = len(node.legs)
    if n_legs == 1:
        return 0.0
    return 2.0 * port.leg / (n_legs - 1) - 1.0
