"""How each block is turned, which blocks hang from others, and which way every wire runs."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from wirework.diagram import Port, Side
from wirework.layout.blocks import Block
from wirework.layout.piece import Margin


@dataclass
class Graph:
    """What is laid out: blocks, wires between their legs, and legs that are open."""

    blocks: list[Block]
    wires: list[tuple[Port, Port]]
    margins: dict[Port, Margin | None]
    """Of open legs: the margin where they end; None if they may also end at their block."""
    names: dict[Port, str]
    """Of open legs; what is drawn at their end."""
    ends: dict[Port, tuple[Port, int]] = field(default_factory=dict)
    """The other end of the wire at a port, and the wire's number."""
    upright: dict[Port, Side] = field(default_factory=dict)
    """Legs that leave up or down and stay in their column."""
    above: dict[int, int] = field(default_factory=dict)
    """Number of the wire that goes up from a node within its column."""
    below: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note which ports are joined."""
        for number, (p, q) in enumerate(self.wires):
            self.ends[p], self.ends[q] = (q, number), (p, number)

    def ports(self, node: int) -> Iterator[Port]:
        """The legs of a node."""
        return (Port(node, leg) for leg in range(len(self.blocks[node].legs)))


def turned(graph: Graph, roots: list[int]) -> list[tuple[int, int] | None]:
    """Turn blocks so that wires leave towards what they are joined to.

    Walks from the first open leg, along those wires first that run from a last leg to a first one
    or back, so that a product stays one straight line.

    Returns:
        For each wire its left and its right node; None if it joins a node to itself.
    """
    away: dict[int, int] = {}
    for root in roots:
        if root not in away:
            _walk(graph, root, away)
    visited = {node: place for place, node in enumerate(away)}
    found: list[tuple[int, int] | None] = []
    for p, q in graph.wires:
        if p.node == q.node:
            found.append(None)
            continue
        wish = graph.blocks[p.node].lean(p.leg) - graph.blocks[q.node].lean(q.leg)
        if not wish:
            later = max(p.node, q.node, key=visited.__getitem__)
            wish = away[later] if later == q.node else -away[later]
        found.append((p.node, q.node) if wish > 0 else (q.node, p.node))
    return found


def _walk(graph: Graph, root: int, away: dict[int, int]) -> None:
    """Turn all blocks connected to one; `away` is the direction in which each was found."""
    away[root] = 1
    opened = [port for port in graph.ports(root) if graph.margins.get(port)]
    for port in opened[:1]:
        wish = -1 if graph.margins[port] == "left" else 1
        if graph.blocks[root].lean(port.leg) == -wish:
            graph.blocks[root].flip()
        away[root] = -wish
    heap: list[tuple[int, int, Port]] = []
    _push(graph, root, heap, away)
    while heap:
        _, _, port = heapq.heappop(heap)
        (node, leg), _ = graph.ends[port]
        if node in away:
            continue
        side = graph.blocks[port.node].lean(port.leg)
        if side and graph.blocks[node].lean(leg) == side:
            graph.blocks[node].flip()
        if not side and graph.blocks[node].lean(leg) == away[port.node]:
            graph.blocks[node].flip()
        away[node] = side or away[port.node]
        _push(graph, node, heap, away)


def _push(graph: Graph, node: int, heap: list[tuple[int, int, Port]], away: dict[int, int]) -> None:
    for port in graph.ports(node):
        if port in graph.ends:
            other = graph.ends[port][0]
            weak = not graph.blocks[node].lean(port.leg)
            weak += not graph.blocks[other.node].lean(other.leg)
            heapq.heappush(heap, (weak, len(away) * 1000 + port.leg, port))


class Order:
    """Which stacks of blocks stand left of which; it never has a cycle."""

    def __init__(self, graph: Graph, wishes: list[tuple[int, int] | None]) -> None:
        """Every node is a stack by itself at first."""
        self.stack = list(range(len(graph.blocks)))
        self.members = {node: [node] for node in self.stack}
        self.after: dict[int, dict[int, None]] = {node: {} for node in self.stack}
        for number in _acyclic(wishes, len(self.stack)):
            start, end = wishes[number] or (0, 0)
            self.after[start][end] = None

    def add(self, wish: tuple[int, int]) -> None:
        """Put one node left of another, or right of it if it must be."""
        start, end = self.stack[wish[0]], self.stack[wish[1]]
        if start != end:
            if self.reaches(end, start):
                start, end = end, start
            self.after[start][end] = None

    def reaches(self, start: int, goal: int) -> bool:
        """Whether a stack is left of another."""
        seen, waiting = {start}, [start]
        while waiting:
            for other in self.after[waiting.pop()]:
                if other == goal:
                    return True
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return False

    def merge(self, upper: int, lower: int) -> bool:
        """Put one node's stack on that of another, if they do not stand side by side."""
        a, b = self.stack[upper], self.stack[lower]
        if a == b or self.reaches(a, b) or self.reaches(b, a):
            return False
        for node in self.members[b]:
            self.stack[node] = a
        self.members[a] += self.members.pop(b)
        self.after[a].update(self.after.pop(b))
        for ends in self.after.values():
            if b in ends:
                del ends[b]
                ends[a] = None
        return True


def _acyclic(wishes: list[tuple[int, int] | None], size: int) -> Iterator[int]:
    """Numbers of wishes; those that would close a cycle are turned round."""
    leaving: list[list[int]] = [[] for _ in range(size)]
    entered = [0] * size
    for number, wish in enumerate(wishes):
        if wish:
            leaving[wish[0]].append(number)
            entered[wish[1]] += 1
    state = [0] * size
    for root in sorted(range(size), key=lambda node: (entered[node] > 0, node)):
        if state[root]:
            continue
        state[root], path = 1, [(root, iter(leaving[root]))]
        while path:
            node, rest = path[-1]
            number = next(rest, None)
            if number is None:
                state[node] = 2
                path.pop()
                continue
            start, end = wishes[number] or (0, 0)
            if state[end] == 1:
                wishes[number] = end, start
            elif not state[end]:
                state[end] = 1
                path.append((end, iter(leaving[end])))
            yield number


def stacked(graph: Graph, wishes: list[tuple[int, int] | None], *, hanging: bool) -> Order:
    """Hang vectors, factors and the like from middle legs, and put everything else in order.

    Args:
        graph: Its `upright`, `above` and `below` are filled in.
        wishes: For each wire, its left and its right node.
        hanging: Whether open legs may end above or below their block.
    """
    hosts = [number for number, wire in enumerate(graph.wires) if _is_upright(graph, wire)]
    kept = [None if number in set(hosts) else wish for number, wish in enumerate(wishes)]
    pendants = _pendants(graph, wishes, hanging=hanging)
    for number in pendants:
        kept[number] = None
    order = Order(graph, kept)
    for number in (*(one for one in hosts if one not in pendants), *pendants):
        if not _hang(graph, order, number) and (wish := wishes[number]):
            order.add(wish)
    return order


def _is_middle(graph: Graph, port: Port) -> bool:
    block = graph.blocks[port.node]
    return not block.is_free and block.inner is None and not block.lean(port.leg)


def _is_upright(graph: Graph, wire: tuple[Port, Port]) -> bool:
    return all(_is_middle(graph, port) for port in wire) and wire[0].node != wire[1].node


def _pendants(
    graph: Graph, wishes: list[tuple[int, int] | None], *, hanging: bool
) -> dict[int, None]:
    """Wires from a middle leg, or a dot on a line, to what may hang there; outer ones later."""
    found: dict[int, None] = {}
    for node, block in enumerate(graph.blocks):
        ports = [port for port in graph.ports(node) if port in graph.ends]
        light = {
            port: chain
            for port in ports
            if (chain := _hangs(graph, graph.ends[port][0], hanging=hanging)) is not None
        }
        if block.outline == "dot":
            heavy = [port for port in graph.ports(node) if port not in light]
            if not _on_a_line(graph, heavy, wishes):
                continue
            chosen = list(light)[:2]
        else:
            chosen = [port for port in light if _is_middle(graph, port)]
        for port in chosen:
            found.update(dict.fromkeys((graph.ends[port][1], *light[port])))
    return found


def _on_a_line(graph: Graph, ports: list[Port], wishes: list[tuple[int, int] | None]) -> bool:
    """Whether one of two legs goes left and the other right."""
    lefts = 0
    for port in ports:
        if port in graph.margins:
            lefts += graph.margins[port] == "left"
        else:
            wish = wishes[graph.ends[port][1]]
            lefts += wish is not None and wish[1] == port.node
    return len(ports) == 2 and lefts == 1


def _hangs(graph: Graph, port: Port, *, hanging: bool) -> list[int] | None:
    """Wires of the chain that begins at a port, if it may hang; None if not."""
    chain: list[int] = []
    for _ in range(3):
        block = graph.blocks[port.node]
        if block.inner is not None or block.outline == "dot" or any(one.side for one in block.legs):
            return None
        if len(block.legs) == 1:
            return chain
        if len(block.legs) != 2:
            return None
        other = Port(port.node, 1 - port.leg)
        if other in graph.margins:
            return chain if hanging and graph.margins[other] is None else None
        port, number = graph.ends[other]
        chain.append(number)
        if port.node == other.node:
            return None
    return None


def _hang(graph: Graph, order: Order, number: int) -> bool:
    """Stand the ends of a wire on each other, if both have room."""
    p, q = graph.wires[number]
    if not graph.blocks[p.node].outline == "dot" and p.node not in graph.above:
        if _hosts(graph, q, p):
            p, q = q, p
    for upper, lower in ((p, q), (q, p)):
        if (
            upper.node not in graph.below
            and lower.node not in graph.above
            and _may_leave(graph, upper, "down")
            and _may_leave(graph, lower, "up")
            and order.merge(upper.node, lower.node)
        ):
            graph.below[upper.node] = graph.above[lower.node] = number
            ends: tuple[tuple[Port, Side], ...] = ((upper, "down"), (lower, "up"))
            for port, side in ends:
                graph.upright[port] = side
                block = graph.blocks[port.node]
                block.raised = _is_middle(graph, port) and side == "up"
                other = Port(port.node, 1 - port.leg)
                if len(block.legs) == 2 and block.outline != "dot" and other in graph.margins:
                    graph.upright[other] = "up" if side == "down" else "down"
            return True
    return False


def _hosts(graph: Graph, port: Port, other: Port) -> bool:
    """Whether what is at the other end would hang from a port, rather than the reverse."""
    host, guest = graph.blocks[port.node], graph.blocks[other.node]
    return len(host.legs) > 2 >= len(guest.legs) or other.node in graph.below


def _may_leave(graph: Graph, port: Port, side: Side) -> bool:
    block = graph.blocks[port.node]
    if (asked := block.legs[port.leg].side) is not None:
        return asked == side
    others = {graph.upright[one] for one in graph.ports(port.node) if one in graph.upright}
    if block.is_free or len(block.legs) == 2:
        return len(block.legs) == 1 or side not in others
    # All middle legs are on the same side, so that they stay in order.
    return not others or others == {side}


def unstacked_side(graph: Graph, port: Port) -> Side:
    """Where a middle leg that stays upright leaves."""
    asked = graph.blocks[port.node].legs[port.leg].side
    return asked or ("up" if graph.blocks[port.node].raised else "down")
