"""Whether two coloured graphs are the same, by colour refinement and a search where that stops.

Nodes that look alike, with neighbours that look alike, keep one colour; a node is told apart by
hand where no colour does. Only what lies next to a change is looked at again, so that a chain of n
nodes takes about n log n steps.

Source: McKay and Piperno (2014), "Practical graph isomorphism, II", without its automorphisms.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field


@dataclass
class Graph:
    """Nodes by number, and edges that may have another label at each end."""

    colours: list[Hashable] = field(default_factory=list)
    edges: list[list[tuple[Hashable, int]]] = field(default_factory=list)
    """Of each node: labels at this end and at the other, and the neighbour."""

    def add(self, colour: Hashable) -> int:
        """Add a node, and return its number."""
        self.colours.append(colour)
        self.edges.append([])
        return len(self.colours) - 1

    def join(self, a: int, b: int, at_a: Hashable = None, at_b: Hashable = None) -> None:
        """Add an edge; there may be many between two nodes, and from one to itself."""
        self.edges[a].append(((at_a, at_b), b))
        self.edges[b].append(((at_b, at_a), a))


def isomorphic(a: Graph, b: Graph) -> bool:
    """Whether some renumbering of nodes turns one graph into the other, colours and labels kept."""
    if Counter(a.colours) != Counter(b.colours):
        return False
    shift = len(a.colours)
    labels: dict[Hashable, int] = {}
    edges = [
        [(labels.setdefault(label, len(labels)), other + by) for label, other in ends]
        for graph, by in ((a, 0), (b, shift))
        for ends in graph.edges
    ]
    numbers: dict[Hashable, int] = {}
    colours = [numbers.setdefault(c, len(numbers)) for c in (*a.colours, *b.colours)]
    tried = [iter([_Colouring(edges, colours, set(range(2 * shift)))])]
    while tried:
        one = next(tried[-1], None)
        if one is None:
            tried.pop()
        elif one.refine():
            if (cell := one.open_cell()) is None:
                return True
            tried.append(one.guesses(cell))
    return False


class _Colouring:
    """Colours of the nodes of both graphs, of which the second has the higher half of numbers."""

    def __init__(
        self, edges: list[list[tuple[int, int]]], colours: list[int], changed: set[int]
    ) -> None:
        self.edges, self.colours, self.changed = edges, colours, changed
        self.cells: dict[int, list[int]] = defaultdict(list)
        for node, colour in enumerate(colours):
            self.cells[colour].append(node)

    def refine(self) -> bool:
        """Split cells until nodes of one colour look alike; False if the two graphs differ."""
        while self.changed:
            near: dict[int, set[int]] = defaultdict(set)
            for node in self.changed:
                for _, other in self.edges[node]:
                    near[self.colours[other]].add(other)
            self.changed = set()
            looks = {
                colour: self._by_looks(nodes)
                for colour, nodes in near.items()
                if len(self.cells[colour]) > 1
            }
            for colour, groups in looks.items():
                if not self._split(colour, groups):
                    return False
        return True

    def _by_looks(self, nodes: set[int]) -> list[list[int]]:
        groups: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
        for node in nodes:
            look = sorted((label, self.colours[other]) for label, other in self.edges[node])
            groups[tuple(look)].append(node)
        return list(groups.values())

    def _split(self, colour: int, groups: list[list[int]]) -> bool:
        """Give each group but the largest a new colour; those not in any group are one."""
        seen = {node for group in groups for node in group}
        # The largest keeps its colour, so that a node is looked at again log n times at most.
        if rest := [node for node in self.cells[colour] if node not in seen]:
            groups = [*groups, rest]
        half = len(self.colours) // 2
        if any(2 * sum(node < half for node in group) != len(group) for group in groups):
            return False
        kept = max(groups, key=len)
        self.cells[colour] = kept
        for group in groups:
            if group is not kept:
                self._recolour(group)
        return True

    def _recolour(self, group: list[int]) -> None:
        new = len(self.cells)
        self.cells[new] = group
        self.changed.update(group)
        for node in group:
            self.colours[node] = new

    def open_cell(self) -> list[int] | None:
        """The smallest cell that has several nodes of each graph."""
        return min((cell for cell in self.cells.values() if len(cell) > 2), key=len, default=None)

    def guesses(self, cell: list[int]) -> Iterator["_Colouring"]:
        """One node of the first graph stands for each of the second in turn."""
        half = len(self.colours) // 2
        first = min(cell)
        for second in sorted(node for node in cell if node >= half):
            guess = _Colouring(self.edges, list(self.colours), set())
            colour = self.colours[first]
            guess.cells[colour] = [node for node in cell if node not in (first, second)]
            guess._recolour([first, second])
            yield guess
