"""One connected part of a diagram: cells in columns, and wires through the channels between."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wirework.diagram import Port, Side
from wirework.layout import columns as by_columns
from wirework.layout import rows
from wirework.layout.cells import LEG, Cell, Exit, cell_of
from wirework.layout.drawing import Drawing
from wirework.layout.labels import width
from wirework.layout.piece import Margin, Piece
from wirework.layout.poses import Graph, stacked, turned
from wirework.layout.scene import Point

CHANNEL = 26.0
"""Width of a channel between columns, at least."""
EDGE = 5.0
"""How far a wire runs straight on, when it has left a column."""
TURN = 7.0
"""Between wires that turn back in a channel."""
_STEEP = 0.3
"""How much wider a channel gets for each point that a wire in it goes up or down."""
_WIDEST = 60.0


@dataclass
class Network:
    """Cells by columns, and what every wire passes through."""

    graph: Graph
    columns: list[list[Cell]]
    routes: list[list[Exit] | None]
    """Exits that a wire passes, from its first end; None if it stays in a column."""
    opened: dict[Port, list[Exit]] = field(default_factory=dict)
    stubs: dict[Port, Point] = field(default_factory=dict)
    homes: dict[int, Cell] = field(default_factory=dict)
    rims: list[tuple[float, float]] = field(default_factory=list)
    """Left and right border of each column."""


def arranged(graph: Graph, roots: list[int], *, inside: bool) -> Network:
    """Place every block.

    Args:
        graph: Its blocks are turned and settled.
        roots: Nodes from which to begin, in order.
        inside: Whether all open legs have to reach the margin, without a name.
    """
    wishes = turned(graph, roots)
    order = stacked(graph, wishes, hanging=not inside)
    column = by_columns.columns(order)
    by_columns.assign_sides(graph, column, hanging=not inside)
    stacks = list(order.members.values())
    network = _ordered(graph, column, stacks, roots, inside)
    if _untwist(network):
        network = _ordered(graph, column, stacks, roots, inside)
    rows.stand(network.columns)
    _set_columns(network, inside=inside)
    return network


def _ordered(
    graph: Graph, column: dict[int, int], stacks: list[list[int]], roots: list[int], inside: bool
) -> Network:
    """Build the cells, and sort them within their columns."""
    for port in graph.upright:
        if port in graph.margins:
            block = graph.blocks[port.node]
            block.spacing = max(block.spacing, width(graph.names[port], LEG) + 4)
    for block in graph.blocks:
        block.settle()
    network = _cells(graph, column, stacks)
    _connect(network, inside=inside)
    _first_order(network, roots)
    rows.ordered(network.columns)
    return network


def _untwist(network: Network) -> bool:
    """Turn blocks upside down whose wires cross each other; whether there was any."""
    graph, found = network.graph, False
    for column in network.columns:
        for cell in column:
            if len(cell.blocks) != 1 or cell.is_dot or not rows.twisted(network.columns, cell):
                continue
            (node,) = cell.blocks
            block = graph.blocks[node]
            if block.inner is None and not any(leg.side for leg in block.legs):
                block.raised = not block.raised
                cell.left.reverse()
                cell.right.reverse()
                for port in graph.ports(node):
                    if port in graph.upright:
                        graph.upright[port] = "up" if graph.upright[port] == "down" else "down"
                        block.sides[port.leg] = graph.upright[port]
                found = True
    return found


def _cells(graph: Graph, column: dict[int, int], stacks: list[list[int]]) -> Network:
    goals: dict[Port, Side] = {
        port: _goal(graph, port, column)
        for node in range(len(graph.blocks))
        for port in graph.ports(node)
    }
    first, last = min(column.values()), max(column.values())
    network = Network(graph, [[] for _ in range(last - first + 3)], [None] * len(graph.wires))
    exits: dict[Port, Exit] = {}
    for members in stacks:
        cell, mine, stubs = cell_of(graph, members, column[members[0]] - first + 1, goals)
        network.columns[cell.column].append(cell)
        network.stubs.update(stubs)
        network.homes.update(dict.fromkeys(members, cell))
        exits.update(mine)
    for number, (p, q) in enumerate(graph.wires):
        if p in exits:
            network.routes[number] = [exits[p], exits[q]]
    network.opened = {port: [exits[port]] for port in graph.margins if port in exits}
    return network


def _goal(graph: Graph, port: Port, column: dict[int, int]) -> Side:
    """The side of its cell where the wire at a port leaves."""
    if port in graph.upright:
        return graph.upright[port]
    block = graph.blocks[port.node]
    if port in graph.margins:
        side = block.sides[port.leg]
        return graph.margins[port] or ("left" if side == "left" else "right")
    other, _ = graph.ends[port]
    if column[other.node] != column[port.node]:
        return "left" if column[other.node] < column[port.node] else "right"
    both = block.sides[port.leg], graph.blocks[other.node].sides[other.leg]
    return "left" if both == ("left", "left") else "right"


def _connect(network: Network, *, inside: bool) -> None:
    """Let long wires pass through the columns between, and open legs end in the outermost ones."""
    for number, route in enumerate(network.routes):
        if route is not None:
            network.routes[number] = _through(network, route[0], route[1])
    for port, (start,) in list(network.opened.items()):
        outermost = 0 if start.side == "left" else len(network.columns) - 1
        name = network.graph.names[port]
        half = 0.0 if inside else LEG * 0.6
        wide = 0.0 if inside else width(name, LEG) + 4
        cell = Cell("end", outermost, {}, name, (-wide / 2, -half, wide / 2, half))
        end = Exit(cell, "right" if start.side == "left" else "left")
        cell.exits(end.side).append(end)
        network.columns[outermost].append(cell)
        network.opened[port] = _through(network, start, end)


def _through(network: Network, start: Exit, end: Exit) -> list[Exit]:
    """Link two exits, by way of the columns between them."""
    route, here = [start], start
    step = 1 if end.cell.column > start.cell.column else -1
    for number in range(start.cell.column + step, end.cell.column, step):
        cell = Cell("pass", number)
        cell.left.append(Exit(cell, "left"))
        cell.right.append(Exit(cell, "right"))
        near, far = (cell.left, cell.right) if step > 0 else (cell.right, cell.left)
        network.columns[number].append(cell)
        _link(here, near[0])
        here = far[0]
        route += (near[0], far[0])
    _link(here, end)
    return [*route, end]


def _link(one: Exit, other: Exit) -> None:
    one.links.append(other)
    other.links.append(one)


def _first_order(network: Network, roots: list[int]) -> None:
    """Sort columns by when a walk along the wires, from the top ones to the bottom, gets there."""
    seen: dict[Cell, None] = {}
    starts = [network.homes[root] for root in roots]
    for start in (*starts, *(cell for column in network.columns for cell in column)):
        stack = [start]
        while stack:
            cell = stack.pop()
            if cell in seen:
                continue
            seen[cell] = None
            exits = (*cell.left, *cell.right)
            stack += [other.cell for one in reversed(exits) for other in one.links]
    rank = {cell: place for place, cell in enumerate(seen)}
    for column in network.columns:
        column.sort(key=rank.__getitem__)


def _set_columns(network: Network, *, inside: bool) -> None:
    """Give every column its place, with channels as wide as their wires need."""
    x = 0.0
    last = len(network.columns) - 1
    for number, column in enumerate(network.columns):
        wide_left = max((-cell.bounds[0] for cell in column), default=0.0)
        wide_right = max((cell.bounds[2] for cell in column), default=0.0)
        if number:
            x += _channel(network, number, narrow=inside and number in (1, last))
        network.rims.append((x, x + wide_left + wide_right))
        for cell in column:
            cell.x = x + wide_left
            if cell.kind == "end":
                cell.x = x + (
                    wide_left + wide_right + cell.bounds[0] if number == 0 else cell.bounds[2]
                )
            elif cell.is_dot and len(cell.right) > 1:
                cell.x = x + wide_left + wide_right - cell.bounds[2]
            elif cell.is_dot and len(cell.left) > 1:
                cell.x = x - cell.bounds[0]
        x += wide_left + wide_right


def _channel(network: Network, number: int, *, narrow: bool) -> float:
    """Width of the channel left of a column."""
    if not network.columns[number] or not network.columns[number - 1]:
        return TURN * (_turns(network.columns[number - 1], "right") + 1) if number > 1 else 0.0
    steepest = max(
        (
            abs(one.cell.y + one.y - other.cell.y - other.y)
            for cell in network.columns[number]
            for one in cell.left
            for other in one.links
        ),
        default=0.0,
    )
    turning = _turns(network.columns[number - 1], "right"), _turns(network.columns[number], "left")
    least = 10.0 if narrow else CHANNEL
    return max(least, min(_STEEP * steepest + 2 * EDGE, _WIDEST)) + TURN * sum(turning)


def _turns(column: Sequence[Cell], side: Margin) -> int:
    """How many wires turn back at one side of a column."""
    return (
        sum(
            other.cell is cell for cell in column for one in cell.exits(side) for other in one.links
        )
        // 2
    )


def drawn(network: Network, *, inside: bool) -> Piece:
    """Draw blocks and wires."""
    graph = network.graph
    centres = []
    for node in range(len(graph.blocks)):
        cell = network.homes[node]
        at = cell.blocks[node]
        centres.append(Point(cell.x + at.x, cell.y + at.y))
    drawing, channels = Drawing(graph.blocks, centres), _Channels(network)
    for number, (p, q) in enumerate(graph.wires):
        route = network.routes[number]
        points = channels.along(route) if route else [drawing.start(p), drawing.start(q)]
        drawing.join(p, points, q)
    for port in graph.margins:
        side: Side
        if port in network.stubs:
            side = graph.upright[port]
            home, end = network.homes[port.node], network.stubs[port]
            points = [drawing.start(port), Point(home.x + end.x, home.y + end.y)]
        else:
            side = network.opened[port][0].side
            points = channels.outward(network.opened[port])
        drawing.end(port, points, side, graph.names[port], named=not inside)
    piece = drawing.piece
    ends = [cell.y for column in network.columns for cell in column if cell.kind == "end"]
    _, top, _, bottom = piece.bounds()
    piece.axis = (min(ends) + max(ends)) / 2 if ends else (top + bottom) / 2
    return piece


class _Channels:
    """Where wires run between columns."""

    def __init__(self, network: Network) -> None:
        """Give wires that turn back in a channel a lane each, short ones inside."""
        self.network = network
        self.lanes: dict[frozenset[Exit], float] = {}
        self.room: dict[tuple[int, Margin], float] = {}
        sides: tuple[Margin, ...] = ("left", "right")
        for number, column in enumerate(network.columns):
            for side in sides:
                turns = {
                    frozenset((one, other)): abs(one.y - other.y)
                    for cell in column
                    for one in cell.exits(side)
                    for other in one.links
                    if other.cell is cell
                }
                for lane, pair in enumerate(sorted(turns, key=turns.__getitem__)):
                    self.lanes[pair] = TURN * (lane + 1)
                self.room[number, side] = TURN * len(turns)

    def along(self, route: list[Exit]) -> list[Point]:
        """The points of a wire from its first exit to its last."""
        if len(route) == 2 and route[0].cell is route[1].cell:
            return self._turned(*route)
        middle = map(self._rim, route[1:-1])
        return [*self._way(route[0]), *middle, *reversed(self._way(route[-1]))]

    def outward(self, route: list[Exit]) -> list[Point]:
        """The points of an open leg, up to its name."""
        end = route[-1]
        rim = self.network.rims[end.cell.column]
        last = Point(rim[1] if end.side == "right" else rim[0], end.cell.y)
        return [*self._way(route[0]), *map(self._rim, route[1:-1]), last]

    def _way(self, one: Exit) -> list[Point]:
        """From the block to where the wire is in the channel; from a dot, as the crow flies."""
        cell = one.cell
        points = [Point(cell.x + p.x, cell.y + p.y) for p in one.way]
        exits = cell.exits(one.side)
        if cell.is_dot and len(exits) > 1:
            rim = self.network.rims[cell.column][one.side == "right"]
            edge = cell.bounds[2] if one.side == "right" else cell.bounds[0]
            goals = [other.cell for each in exits for other in each.links]
            alone = len(set(goals)) == len(goals) and cell not in goals
            if abs(cell.x + edge - rim) < 1e-6 and alone:
                return points
            points.append(Point(rim, cell.y + one.y))
        return [*points, self._rim(one)]

    def _rim(self, one: Exit) -> Point:
        """Where a wire leaves the straight part of a channel."""
        left, right = self.network.rims[one.cell.column]
        room = EDGE + self.room[one.cell.column, one.side]
        x = right + room if one.side == "right" else left - room
        return Point(x, one.cell.y + one.y)

    def _turned(self, one: Exit, other: Exit) -> list[Point]:
        """A wire that comes back to the same cell."""
        left, right = self.network.rims[one.cell.column]
        lane = self.lanes[frozenset((one, other))]
        x, cell = right + lane if one.side == "right" else left - lane, one.cell
        start, end = (
            [Point(cell.x + p.x, cell.y + p.y) for p in each.way] for each in (one, other)
        )
        rim = right if one.side == "right" else left
        corners = [Point(at, cell.y + each.y) for each in (one, other) for at in (rim, x)]
        return [*start, *corners[:2], *reversed(corners[2:]), *reversed(end)]
