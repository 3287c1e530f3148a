"""What a user may ask of a layout: fixed places, relations, groups. Values do not depend on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Key = int | str
"""A node: its number, its name if there is one of that name, or ``"A#2"`` for the second A."""


class Relation(NamedTuple):
    """How two nodes stand to each other."""

    first: Key
    how: Literal["left of", "right of", "above", "below", "level with", "in column with"]
    second: Key


class Group(NamedTuple):
    """A frame around some nodes."""

    title: str
    nodes: tuple[Key, ...]


@dataclass(frozen=True)
class Hints:
    """What is fixed; everything else adapts."""

    pins: Mapping[Key, tuple[float, float]] = field(default_factory=dict)
    """Centre of a node, in points from the centre of the first pinned one."""
    relations: tuple[Relation, ...] = ()
    groups: tuple[Group, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of dimensions, by name: printed on their wires, where there is room."""
