"""What hints fix: which nodes they name, and positions under pins and relations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wirework.diagram import Copy, Diagram
from wirework.errors import DiagramError
from wirework.layout.hints import Hints, Key
from wirework.layout.scene import Point

APART = 26.0
"""Between blocks that stand beside each other because a hint says so."""
_AXES = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}
_SAME = {"level with": 1, "in column with": 0}


@dataclass
class Fixed:
    """The hints for one diagram, by the numbers of its nodes."""

    pins: dict[int, Point] = field(default_factory=dict)
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    groups: list[tuple[str, list[int]]] = field(default_factory=list)


def resolved(hints: Hints, diagrams: Sequence[Diagram]) -> list[Fixed]:
    """Find the nodes that hints name.

    Numbers count the nodes of all diagrams, one diagram after the other.

    Raises:
        DiagramError: If there is no such node, or several, or a hint is across two terms.
    """
    found = [Fixed() for _ in diagrams]
    places = [(term, node) for term, one in enumerate(diagrams) for node in range(len(one.nodes))]

    def find(*keys: Key) -> tuple[Fixed, list[int]]:
        ends = [places[_number(key, diagrams)] for key in keys]
        if len({term for term, _ in ends}) > 1:
            raise DiagramError(
                f"expected hints within one term, got {', '.join(map(repr, keys))}. Terms are "
                "laid out one after the other; give the hint for each by itself."
            )
        return found[ends[0][0] if ends else 0], [node for _, node in ends]

    if hints.pins:
        fixed, nodes = find(*hints.pins)
        first = next(iter(hints.pins.values()))
        for node, (x, y) in zip(nodes, hints.pins.values(), strict=True):
            fixed.pins[node] = Point(x - first[0], y - first[1])
    for one, how, other in hints.relations:
        if how not in _AXES and how not in _SAME:
            raise DiagramError(
                f"expected a relation among {', '.join([*_AXES, *_SAME])}, got {how!r}. Check the "
                "spelling."
            )
        fixed, (a, b) = find(one, other)
        fixed.relations.append((a, how, b))
    for title, keys in hints.groups:
        fixed, nodes = find(*keys)
        fixed.groups.append((title, nodes))
    return found


def _number(key: Key, diagrams: Sequence[Diagram]) -> int:
    names = [_name(node) for one in diagrams for node in one.nodes]
    if isinstance(key, int):
        if 0 <= key < len(names):
            return key
        raise DiagramError(
            f"expected the number of a node, 0 to {len(names) - 1}, got {key}. Nodes are numbered "
            "from 0 in the order of the diagram's `nodes`."
        )
    places = [place for place, one in enumerate(names) if one == key]
    if len(places) == 1:
        return places[0]
    if places:
        raise DiagramError(
            f"expected the name of one node, got {key!r}, which {len(places)} nodes have. Say "
            f"which one: '{key}#1', or give its number."
        )
    name, _, which = key.rpartition("#")
    if name and which.isdigit():
        places = [place for place, one in enumerate(names) if one == name]
        if 0 < int(which) <= len(places):
            return places[int(which) - 1]
        raise DiagramError(
            f"expected one of {len(places)} nodes named {name!r}, got {key!r}. Counting starts at "
            f"1; the names are {', '.join(dict.fromkeys(names))}."
        )
    raise DiagramError(
        f"expected the name of a node, got {key!r}; there are {', '.join(dict.fromkeys(names))}. "
        "Check the spelling, or give the node's number."
    )


def _name(node: object) -> str:
    return "copy" if isinstance(node, Copy) else str(getattr(node, "name", ""))


class Gap(NamedTuple):
    """A distance along one axis: `after` is at least `least` further than `before`."""

    before: int
    after: int
    least: float


def gaps(
    relations: Sequence[tuple[int, str, int]], sizes: Sequence[tuple[float, float]], axis: int
) -> tuple[list[Gap], list[tuple[int, int]]]:
    """Distances along one axis, and pairs that have the same place on it."""
    apart: list[Gap] = []
    same: list[tuple[int, int]] = []
    for one, how, other in relations:
        if how in _SAME:
            if _SAME[how] == axis:
                same.append((one, other))
        elif _AXES[how][0] == axis:
            before, after = (one, other) if _AXES[how][1] > 0 else (other, one)
            least = (sizes[before][axis] + sizes[after][axis]) / 2 + APART
            apart.append(Gap(before, after, least))
    return apart, same


def solved(
    wishes: Sequence[float],
    pins: Mapping[int, float],
    apart: Sequence[Gap],
    same: Sequence[tuple[int, int]],
) -> list[float] | None:
    """Places along one axis, near what is wished, that keep all distances; None if none do."""
    lead = list(range(len(wishes)))

    def find(node: int) -> int:
        while lead[node] != node:
            node = lead[node]
        return node

    for one, other in same:
        lead[find(other)] = find(one)
    fixed: dict[int, float] = {}
    for node, at in pins.items():
        if abs(fixed.setdefault(find(node), at) - at) > 1e-6:
            return None
    edges: dict[int, list[tuple[int, float]]] = {find(node): [] for node in lead}
    for before, after, least in apart:
        edges[find(before)].append((find(after), least))
    sequence = _sequence(edges, wishes)
    if sequence is None:
        return None
    highest = {node: fixed.get(node, float("inf")) for node in edges}
    for node in reversed(sequence):
        for other, least in edges[node]:
            highest[node] = min(highest[node], highest[other] - least)
    members: dict[int, list[float]] = {node: [] for node in edges}
    for node in range(len(wishes)):
        members[find(node)].append(wishes[node])
    lowest = dict.fromkeys(edges, float("-inf"))
    found: dict[int, float] = {}
    for node in sequence:
        wish = sum(members[node]) / len(members[node])
        found[node] = fixed.get(node, min(max(wish, lowest[node]), highest[node]))
        if found[node] < lowest[node] - 1e-6 or found[node] > highest[node] + 1e-6:
            return None
        for other, least in edges[node]:
            lowest[other] = max(lowest[other], found[node] + least)
    return [found[find(node)] for node in range(len(wishes))]


def _sequence(
    edges: Mapping[int, Sequence[tuple[int, float]]], wishes: Sequence[float]
) -> list[int] | None:
    """Nodes so that every distance goes forward; None if they run in a circle."""
    waiting = dict.fromkeys(edges, 0)
    for ends in edges.values():
        for other, _ in ends:
            waiting[other] += 1
    ready = sorted((node for node, count in waiting.items() if not count), key=wishes.__getitem__)
    for node in ready:
        for other, _ in edges[node]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return ready if len(ready) == len(edges) else None
