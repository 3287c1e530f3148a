"""Diagrams of a given number of tensors, of the kinds that people draw."""

import random
from collections.abc import Callable

from wirework import Diagram, tensor
from wirework.diagram import Leg, Open, Port, Tensor


def chain(n: int) -> Diagram:
    """A product of n matrices, built as a user builds it."""
    built = tensor("A0", "i:d j:d")
    for number in range(1, n):
        built = built @ tensor(f"A{number}", "i:d j:d")
    return built


def tensor_train(n: int) -> Diagram:
    """A tensor train with n cores, whose open legs stand between the bonds."""
    cores = [tensor("T0", "o0:p b0:r")]
    cores += [tensor(f"T{k}", f"b{k - 1}:r o{k}:p b{k}:r") for k in range(1, n - 1)]
    cores.append(tensor(f"T{n - 1}", f"b{n - 2}:r o{n - 1}:p"))
    nodes = tuple(core.nodes[0] for core in cores)
    wires = tuple((Port(k, len(nodes[k].legs) - 1), Port(k + 1, 0)) for k in range(n - 1))
    ends = [Port(k, min(k, 1)) for k in range(n)]
    return Diagram(nodes, wires, tuple(Open(nodes[p.node].legs[p.leg], p) for p in ends))


def open_legs_last(n: int) -> Diagram:
    """The same with every open leg last, so that all of them look right: hard, and not usual."""
    pairs = [(number, number + 1) for number in range(n - 1)]
    return network(n, pairs, opened=range(n))


def tree(n: int) -> Diagram:
    """A binary tree with n tensors."""
    return network(n, [((number - 1) // 2, number) for number in range(1, n)])


def grid(n: int) -> Diagram:
    """A square lattice of about n tensors."""
    wide = round(n**0.5)
    high = n // wide
    pairs = [(r * wide + c, r * wide + c + 1) for r in range(high) for c in range(wide - 1)]
    pairs += [(r * wide + c, (r + 1) * wide + c) for r in range(high - 1) for c in range(wide)]
    return network(wide * high, pairs)


def random_cubic(n: int) -> Diagram:
    """A random network in which about every tensor has three legs."""
    rng = random.Random(0)
    stubs = [number for number in range(n - n % 2) for _ in range(3)]
    rng.shuffle(stubs)
    pairs = [(a, b) for a, b in zip(stubs[::2], stubs[1::2], strict=True) if a != b]
    return network(n, pairs)


def network(n: int, pairs: list[tuple[int, int]], opened: range = range(0)) -> Diagram:
    """Tensors joined in pairs, some with an open leg."""
    legs: list[list[Leg]] = [[] for _ in range(n)]

    def port(number: int, name: str) -> Port:
        legs[number].append(Leg(name, "d"))
        return Port(number, len(legs[number]) - 1)

    wires = [(port(a, f"w{k}"), port(b, f"w{k}")) for k, (a, b) in enumerate(pairs)]
    ends = [port(number, f"o{number}") for number in opened]
    nodes = tuple(Tensor(f"T{number}", tuple(some)) for number, some in enumerate(legs))
    opens = tuple(Open(nodes[p.node].legs[p.leg], p) for p in ends)
    return Diagram(nodes, tuple(wires), opens)


KINDS: dict[str, Callable[[int], Diagram]] = {
    "chain": chain,
    "tensor train": tensor_train,
    "train, open legs last": open_legs_last,
    "tree": tree,
    "grid": grid,
    "random cubic": random_cubic,
}
