"""Which column each stack of blocks stands in, and on which side middle legs leave then."""

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

from wirework.diagram import Port, Side
from wirework.layout.poses import Graph, Order, unstacked_side


def columns(order: Order) -> dict[int, int]:
    """Give every node a column, so that wires are short and those that are left stay left."""
    before: dict[int, list[int]] = {node: [] for node in order.members}
    for start, ends in order.after.items():
        for end in ends:
            before[end].append(start)
    found = dict.fromkeys(order.members, 0)
    sequence = list(_from_the_left(order, before))
    for node in sequence:
        for end in order.after[node]:
            found[end] = max(found[end], found[node] + 1)
    for _ in range(3):
        for node in reversed(sequence):
            _pull(node, found, list(order.after[node]), before[node])
        for node in sequence:
            _pull(node, found, list(order.after[node]), before[node])
    return {node: found[order.stack[node]] for node in range(len(order.stack))}


def _from_the_left(order: Order, before: dict[int, list[int]]) -> Iterator[int]:
    waiting = {node: len(starts) for node, starts in before.items()}
    ready = [node for node, count in waiting.items() if not count]
    for node in ready:
        yield node
        for end in order.after[node]:
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)


def _pull(node: int, found: dict[int, int], after: Sequence[int], before: Sequence[int]) -> None:
    """Move a stack towards where most of its wires go."""
    if len(after) > len(before):
        found[node] = min(found[end] for end in after) - 1
    elif len(before) > len(after):
        found[node] = max(found[start] for start in before) + 1


def assign_sides(graph: Graph, column: dict[int, int], *, hanging: bool) -> None:
    """Choose the side of every leg of every block that is not a frame."""
    for node, block in enumerate(graph.blocks):
        if block.inner is not None:
            continue
        wanted: dict[int, Side] = {
            port.leg: _wanted(graph, port, column, hanging) for port in graph.ports(node)
        }
        if (
            block.is_free
            or len(block.legs) == 2
            and any(p in graph.upright for p in graph.ports(node))
        ):
            block.sides = wanted
        else:
            middle = [leg for leg in wanted if not block.lean(leg) and not block.legs[leg].side]
            block.sides = {leg: "left" if block.lean(leg) < 0 else "right" for leg in wanted}
            for leg in wanted:
                if not block.lean(leg) and (asked := block.legs[leg].side):
                    block.sides[leg] = asked
            block.sides.update(_in_order(middle, wanted, flipped=block.flipped))
    for port in graph.margins:
        block = graph.blocks[port.node]
        if block.sides[port.leg] in ("up", "down") and hanging and graph.margins[port] is None:
            graph.upright[port] = block.sides[port.leg]


def _wanted(graph: Graph, port: Port, column: dict[int, int], hanging: bool) -> Side:
    """The side that is best for one leg alone."""
    if port in graph.upright:
        return graph.upright[port]
    if port in graph.ends:
        other = graph.ends[port][0]
        return "left" if column[other.node] < column[port.node] else "right"
    margin = graph.margins[port]
    if margin is None and hanging:
        block = graph.blocks[port.node]
        if not block.is_free:
            return unstacked_side(graph, port)
        if block.outline == "dot" and len(block.legs) == 3 and port.node not in graph.below:
            free = [one for one in graph.ports(port.node) if graph.margins.get(one, "") is None]
            if free[0] == port:
                return "down"
    return margin or "right"


def _in_order(middle: list[int], wanted: dict[int, Side], *, flipped: bool) -> dict[int, Side]:
    """Sides of middle legs, so that they follow each other from the first leg to the last."""
    first: Side = "right" if flipped else "left"
    last: Side = "left" if flipped else "right"
    standing: list[Side] = [wanted[leg] for leg in middle if wanted[leg] in ("up", "down")]
    upright: Side = standing[0] if standing else "down"
    best: tuple[int, dict[int, Side]] = len(middle) + 1, {}
    for start, end in combinations_with_replacement(range(len(middle) + 1), 2):
        sides: dict[int, Side] = {
            leg: first if place < start else upright if place < end else last
            for place, leg in enumerate(middle)
        }
        missed = sum(sides[leg] != wanted[leg] for leg in middle)
        # A leg that hangs has to; the others only look better on their side.
        missed += sum(
            len(middle) for leg in middle
            if wanted[leg] in ("up", "down") and sides[leg] != wanted[leg]
        )  # fmt: skip
        if missed < best[0]:
            best = missed, sides
    return best[1]
