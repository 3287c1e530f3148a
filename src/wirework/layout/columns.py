"""Which column each box stands in: first legs to the left, last legs to the right."""

from collections.abc import Mapping, Sequence

from wirework.diagram import Diagram, Port
from wirework.layout.graph import leans

Edge = tuple[int, int, float]
"""From, to, and how much the wire wants to run that way."""


def columns(diagram: Diagram) -> list[int]:
    """Give every node a column, so that no wire stays within one (but those of a node to itself).

    A wire from the last leg of A to the first of B puts A before B. Wires without a wish, such as
    those of copies, take the way that is left. Cycles are broken where the wish is weakest.
    """
    edges = _directed(diagram)
    after: dict[int, list[int]] = {number: [] for number in range(len(diagram.nodes))}
    for start, end, _ in sorted(edges, key=lambda edge: -edge[2]):
        if not _reaches(after, end, start):
            after[start].append(end)
        else:
            after[end].append(start)
    found = _longest_paths(after)
    return _tightened(found, after)


def _directed(diagram: Diagram) -> list[Edge]:
    """Each wire with the direction that it wants; between the same nodes they agree."""
    wishes: dict[tuple[int, int], float] = {}
    for first, second in diagram.wires:
        if first.node == second.node:
            continue
        a, b = sorted((first, second))
        wish = leans(diagram, a) - leans(diagram, b)
        wishes[a.node, b.node] = wishes.get((a.node, b.node), 0.0) + wish
    edges = []
    for (a, b), wish in wishes.items():
        edges.append((a, b, wish) if wish >= 0 else (b, a, -wish))
    return edges


def _reaches(after: Mapping[int, Sequence[int]], start: int, goal: int) -> bool:
    seen, stack = {start}, [start]
    while stack:
        node = stack.pop()
        if node == goal:
            return True
        for other in after[node]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return False


def _longest_paths(after: Mapping[int, Sequence[int]]) -> list[int]:
    """Columns by the longest path from the left."""
    waiting = {node: 0 for node in after}
    for ends in after.values():
        for end in ends:
            waiting[end] += 1
    found = [0] * len(after)
    ready = [node for node, count in waiting.items() if not count]
    while ready:
        node = ready.pop()
        for end in after[node]:
            found[end] = max(found[end], found[node] + 1)
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    return found


def _tightened(found: list[int], after: Mapping[int, Sequence[int]]) -> list[int]:
    """Move boxes to the right where that makes wires shorter."""
    before: dict[int, list[int]] = {node: [] for node in after}
    for start, ends in after.items():
        for end in ends:
            before[end].append(start)
    for _ in range(3):
        for node in sorted(after, key=lambda one: -found[one]):
            ends = [found[end] for end in after[node]]
            if ends and len(ends) > len(before[node]):
                found[node] = max(found[node], min(ends) - 1)
    return found


def self_wires(diagram: Diagram) -> list[tuple[Port, Port]]:
    """Wires from a node to itself."""
    return [wire for wire in diagram.wires if wire[0].node == wire[1].node]
