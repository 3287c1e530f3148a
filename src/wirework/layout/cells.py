"""Cells: what stands in one place of a column, and the wires that leave it left and right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from wirework.diagram import Port, Side
from wirework.layout.blocks import LANE, Block
from wirework.layout.labels import width
from wirework.layout.piece import Margin
from wirework.layout.poses import Graph
from wirework.layout.scene import Point

LEG = 10.0
"""Size of the names of open legs."""
STUB = 14.0
"""Length of an open leg that ends above or below its block."""
STANDING = 12.0
"""Length of a wire between blocks that stand on each other, at least."""


@dataclass(eq=False)
class Exit:
    """Where a wire leaves a cell for the channel beside it."""

    cell: "Cell" = field(repr=False)
    side: Margin
    y: float = 0.0
    """Below the cell's centre."""
    way: tuple[Point, ...] = ()
    """From the block to where it leaves, relative to the cell's centre."""
    links: list["Exit"] = field(default_factory=list, repr=False)
    """What it is joined to in the next column."""


@dataclass(eq=False)
class Cell:
    """A stack of blocks, the end of an open leg, or a wire that passes through a column."""

    kind: Literal["stack", "end", "pass"]
    column: int
    blocks: dict[int, Point] = field(default_factory=dict)
    """Nodes, with their centres relative to the cell's."""
    label: str = ""
    bounds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    left: list[Exit] = field(default_factory=list)
    """From the top."""
    right: list[Exit] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def is_dot(self) -> bool:
        """Whether it is a copy alone, whose wires may leave in any order."""
        return self.kind == "stack" and self.fans

    fans: bool = False
    """Whether it is a dot without anything above or below."""

    def exits(self, side: Margin) -> list[Exit]:
        """Wires that leave on a side, from the top."""
        return self.left if side == "left" else self.right


@dataclass
class Ways:
    """How the wires of one block leave it; (0, 0) is the block's centre."""

    paths: dict[int, tuple[Point, ...]]
    bounds: tuple[float, float, float, float]
    stubs: dict[int, float] = field(default_factory=dict)
    """Of legs that end above or below: where."""


def ways(block: Block, goals: dict[int, Side], names: dict[int, str]) -> Ways:
    """Find how every wire gets from its leg to the side where it has to go.

    Those that start on another side run around the block, on lanes of their own.

    Args:
        block: Settled.
        goals: Side to which each wire goes; up or down for those that stay in the column.
        names: Of the legs that end above or below.
    """
    dx, dy = block.width / 2, block.height / 2
    bounds = [-dx, -dy, dx, dy]
    paths: dict[int, tuple[Point, ...]] = {leg: (block.places[leg],) for leg in goals}
    for upper in (True, False):
        side: Side = "up" if upper else "down"
        sign, lane = (-1 if upper else 1), 0
        for leg in _around(block, goals, side):
            lane += 1
            y = sign * (dy + LANE * lane)
            start = block.places[leg]
            paths[leg] = start, Point(start.x, y)
        for leg in _wrapped(block, goals, upper):
            lane += 1
            y = sign * (dy + LANE * lane)
            start = block.places[leg]
            out = start.x + (-LANE if goals[leg] == "right" else LANE) * lane
            bounds[0], bounds[2] = min(bounds[0], out), max(bounds[2], out)
            paths[leg] = start, Point(out, start.y), Point(out, y)
        bounds[1 if upper else 3] += sign * (LANE * lane + (0.4 * LANE if lane else 0))
    found = Ways(paths, (bounds[0], bounds[1], bounds[2], bounds[3]))
    _add_stubs(block, goals, names, found)
    return found


def _around(block: Block, goals: dict[int, Side], side: Side) -> list[int]:
    """Legs that start above (or below) and turn left or right, innermost first."""
    legs = [leg for leg in block.on(side) if leg in goals and goals[leg] in ("left", "right")]
    if block.outline == "dot":
        return []
    rightward = [leg for leg in reversed(legs) if goals[leg] == "right"]
    return rightward + [leg for leg in legs if goals[leg] == "left"]


def _wrapped(block: Block, goals: dict[int, Side], upper: bool) -> list[int]:
    """Legs that start left and go right, or the reverse, and pass above (or below) the block."""
    found: list[int] = []
    leftward = [leg for leg in block.on("left") if goals.get(leg) == "right"]
    rightward = [leg for leg in block.on("right") if goals.get(leg) == "left"]
    above, under = (leftward, rightward) if leftward else (rightward, leftward)
    found = above if upper else list(reversed(under))
    return [] if block.outline == "dot" else found


def _add_stubs(block: Block, goals: dict[int, Side], names: dict[int, str], found: Ways) -> None:
    left, top, right, bottom = found.bounds
    ends = {"up": top - STUB, "down": bottom + STUB}
    for leg, name in names.items():
        end = ends[goals[leg]]
        at = block.places[leg]
        found.stubs[leg] = end
        half = width(name, LEG) / 2 + 1
        left, right = min(left, at.x - half), max(right, at.x + half)
        height = LEG * 1.2 + 2
        top, bottom = min(top, end - height), max(bottom, end + height)
    found.bounds = left, top, right, bottom


def cell_of(
    graph: Graph, members: Sequence[int], column: int, goals: dict[Port, Side]
) -> tuple[Cell, dict[Port, Exit], dict[Port, Point]]:
    """Build the cell of a stack.

    Returns:
        The cell, the exits of its wires, and where legs end that are open above or below.
    """
    cell = Cell("stack", column)
    exits: dict[Port, Exit] = {}
    stubs: dict[Port, Point] = {}
    at, previous, bottom = Point(0.0, 0.0), None, 0.0
    bounds: list[tuple[float, float, float, float]] = []
    for node in _downwards(graph, members):
        block = graph.blocks[node]
        mine: dict[int, Side] = {port.leg: goals[port] for port in graph.ports(node)}
        names = {
            port.leg: graph.names[port]
            for port in graph.ports(node)
            if port in graph.margins and mine[port.leg] in ("up", "down")
        }
        found = ways(block, mine, names)
        if previous is not None:
            p, q = graph.wires[graph.above[node]]
            own, other = (p, q) if p.node == node else (q, p)
            start = graph.blocks[other.node].places[other.leg]
            x = at.x + start.x - block.places[own.leg].x
            at = Point(x, bottom + STANDING - found.bounds[1])
        cell.blocks[node] = at
        previous, bottom = node, at.y + found.bounds[3]
        left, top, right, low = found.bounds
        bounds.append((left + at.x, top + at.y, right + at.x, low + at.y))
        for leg, path in found.paths.items():
            moved = tuple(Point(p.x + at.x, p.y + at.y) for p in path)
            side = mine[leg]
            if side == "left" or side == "right":
                exits[Port(node, leg)] = Exit(cell, side, moved[-1].y, moved)
        for leg, end in found.stubs.items():
            stubs[Port(node, leg)] = Point(at.x + block.places[leg].x, at.y + end)
    lefts, tops, rights, bottoms = zip(*bounds, strict=True)
    cell.bounds = min(lefts), min(tops), max(rights), max(bottoms)
    cell.fans = not stubs and len(cell.blocks) == 1 and graph.blocks[members[0]].outline == "dot"
    for one in exits.values():
        cell.exits(one.side).append(one)
    cell.left.sort(key=lambda one: one.y)
    cell.right.sort(key=lambda one: one.y)
    _fan(cell, graph)
    return cell, exits, stubs


def _fan(cell: Cell, graph: Graph) -> None:
    """Let the wires of a dot leave at different heights, so that none hides another."""
    left, top, right, bottom = cell.bounds
    for node, at in cell.blocks.items():
        if graph.blocks[node].outline != "dot":
            continue
        for side in (cell.left, cell.right):
            mine = [one for one in side if one.way == (at,)]
            for place, one in enumerate(mine):
                one.y = at.y + (place - (len(mine) - 1) / 2) * LANE
                top, bottom = min(top, one.y), max(bottom, one.y)
    cell.bounds = left, top, right, bottom


def _downwards(graph: Graph, members: Sequence[int]) -> list[int]:
    """The stack from the top."""
    node = next(one for one in members if one not in graph.above)
    found = [node]
    while node in graph.below:
        p, q = graph.wires[graph.below[node]]
        node = q.node if p.node == node else p.node
        found.append(node)
    return found
