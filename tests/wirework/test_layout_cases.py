"""Diagrams of all kinds, by name: on none of them is anything hidden or left out."""

import math

import pytest

from wirework import apply, parse, product, tensor, trace, transpose
from wirework.diagram import (
    Derivative,
    Diagram,
    Function,
    Leg,
    Open,
    Port,
    Sum,
    Tensor,
    of_node,
    terms,
)
from wirework.equation import Equation, equation
from wirework.layout import lay_out, measure, overlaps
from wirework.layout.scene import Scene, Shape

A, B, C = (tensor(name, "i:d j:d") for name in "ABC")
x = tensor("x", "j:d")
W_E = tensor("W_E", "v:vocab d")
W_Q, W_K, W_V = (tensor(name, "d h") for name in ("W_Q", "W_K", "W_V"))
W_O = tensor("W_O", "h d")
X = tensor("x", "i d")


def train(n: int) -> Diagram:
    """A product of matrices."""
    return grid(1, n, opened=True)


def grid(height: int, width: int, *, opened: bool = False, sides: bool = True) -> Diagram:
    """Tensors that are joined to those above, below, left and right."""
    numbers = {(r, c): r * width + c for r in range(height) for c in range(width)}
    steps = {"up": (-1, 0), "left": (0, -1), "down": (1, 0), "right": (0, 1)}
    nodes, ports = [], {}
    for (r, c), number in numbers.items():
        legs = []
        for side, (dr, dc) in steps.items():
            outside = (r + dr, c + dc) not in numbers
            if outside and not (opened and side in ("left", "right")):
                continue
            ports[r, c, side] = Port(number, len(legs))
            legs.append(Leg(side[0], "b", side if sides and not opened else None))  # pyright: ignore
        nodes.append(Tensor("T", tuple(legs)))
    wires = [(ports[r, c, "right"], ports[r, c + 1, "left"]) for r, c in numbers if c < width - 1]
    wires += [(ports[r, c, "down"], ports[r + 1, c, "up"]) for r, c in numbers if r < height - 1]
    ends = []
    if opened:
        ends = [Open(Leg("i", "b"), ports[0, 0, "left"])]
        ends += [Open(Leg("j", "b"), ports[0, width - 1, "right"])]
    return Diagram(tuple(nodes), tuple(wires), tuple(ends))


def tree(n: int) -> Diagram:
    """A binary tree."""
    legs: list[list[Leg]] = [[] for _ in range(n)]
    wires = []
    for child in range(1, n):
        parent = (child - 1) // 2
        wires.append((Port(parent, len(legs[parent])), Port(child, 0)))
        legs[parent].append(Leg(f"l{len(legs[parent])}", "d"))
        legs[child].append(Leg("up", "d"))
    return Diagram(tuple(Tensor("T", tuple(own)) for own in legs), tuple(wires), ())


def network(degrees: list[int], pairs: list[tuple[int, int]]) -> Diagram:
    """Tensors with wires between given pairs; legs that are left over are open."""
    used = [0] * len(degrees)
    wires = []
    for a, b in pairs:
        needed = 2 if a == b else 1
        if used[a] + needed <= degrees[a] and used[b] + needed <= degrees[b]:
            first = Port(a, used[a])
            used[a] += 1
            wires.append((first, Port(b, used[b])))
            used[b] += 1
    nodes = tuple(
        Tensor(f"T_{{{number}}}", tuple(Leg(f"l{leg}", "d") for leg in range(degree)))
        for number, degree in enumerate(degrees)
    )
    ends = tuple(
        Open(Leg(f"o{node}_{leg}", "d"), Port(node, leg))
        for node, degree in enumerate(degrees)
        for leg in range(used[node], degree)
    )
    return Diagram(nodes, tuple(wires), ends)


def svd() -> Diagram:
    """Isometries left and right of a symmetric matrix."""
    nodes = (
        Tensor("U", (Leg("i", "i"), Leg("a", "r")), isometry=(1,)),
        Tensor("S", (Leg("a", "r"), Leg("b", "r")), symmetric=((0, 1),)),
        Tensor("V", (Leg("j", "j"), Leg("b", "r")), isometry=(1,)),
    )
    wires = ((Port(0, 1), Port(1, 0)), (Port(1, 1), Port(2, 1)))
    return Diagram(nodes, wires, (Open(Leg("i", "i"), Port(0, 0)), Open(Leg("j", "j"), Port(2, 0))))


HEAD = apply("softmax", X @ W_Q @ W_K.T @ X.T, "i'") @ X(i="k") @ W_V @ W_O
QK = W_E @ W_Q @ W_K.T @ W_E.T
CP = parse("i j k: A[i a:r] B[j b:r] C[k c:r] copy[a b c]")
TUCKER = parse("i j k: G[a b c] A[i a] B[j b] C[k c]")
BILINEAR = parse("o: D[o a:h] copy[a b:h c:h] L[b i:d] R[c j:d] copy[i j k:d] x[k]")
LONG = "a name so long that nobody would write it, with <b>tags</b> & _odd^ signs"

CASES: dict[str, Diagram | Sum | Equation] = {
    "vector": x,
    "matrix": A,
    "matrix vector": A @ x,
    "row": tensor("y", "i:d") @ A @ x,
    "chain": A @ B @ C @ x,
    "gram": A @ A.T,
    "trace": trace(A, "i", "j"),
    "trace of three": trace(A @ B @ C, "i", "j"),
    "inner product of matrices": parse(": A[i j] B[i j]"),
    "outer": parse("i j: x[i] y[j]"),
    "outer of three": parse("i j k: x[i] y[j] z[k]"),
    "kronecker": product(A @ B, C(i="k", j="l")),
    "number beside": parse("i j: x[a] y[a] A[i j]"),
    "number": parse(": s[]"),
    "empty": Diagram((), (), ()),
    "identity": parse("i j: copy[i j:i]"),
    "ones": parse("i: A[i j] copy[j]"),
    "diagonal": parse("i j: A[i a:d] copy[a b:d c:d] s[b] B[c j]"),
    "hadamard": parse("i: copy[i a:i b:i] x[a] y[b]"),
    "spider": parse("i j k l m: copy[i j:i k:i l:i m:i]"),
    "hyperedges": parse("i: A[i a:d] copy[a b:d c:d e:d] B[b f:d] C[c g:d] D[e h:d] copy[f g h]"),
    "two dots": parse(": copy[a b:a c:a] copy[a b c]"),
    "dot to itself": parse("i: copy[i a:i b:i] copy[a b c:i] copy[c]"),
    "cp": CP,
    "tucker": TUCKER,
    "tucker of four": parse("i j k l: G[a b c e] A[i a] B[j b] C[k c] E[l e]"),
    "tensor train": parse("i j k l: A[i a] B[a j b] C[b k c] E[c l]"),
    "norm of a train": parse(": A[i a] B[a j b] C[b k] A*[i e] B*[e j f] C*[f k]"),
    "qk": QK,
    "head": HEAD,
    "bilinear": BILINEAR,
    "svd": svd(),
    "parallel": parse("i k: A[i a b c] B[a b c k]"),
    "twisted": parse("i k: A[i a b c] B[c b a k]"),
    "nested": A @ apply("exp", apply("tanh", B @ x)),
    "turned function": transpose(apply("exp", A @ B), ("j", "i")),
    "function of a sum": A @ apply("exp", B + C),
    "function of many legs": apply("softmax", TUCKER, "k"),
    "derivative": of_node(Derivative(parse(": x[i] A[i j] x[j]"), "x", (Leg("k", "j"),))),
    "derivative with legs": of_node(Derivative(A @ B, "B", (Leg("k", "d"), Leg("l", "d")))),
    "sum": A @ B - 2 * B @ A + 0.5 * A,
    "nothing": Sum((), A.legs),
    "wide sum": sum((A @ B @ C @ A for _ in range(5)), A),
    "equation": equation(A @ B @ C, A @ B + A @ C, 3 * A @ A @ B @ C + B @ A @ C @ B @ A @ C),
    "notes": Equation((A @ B, B @ A, A), ("=", "≈"), ("a rule", "another rule")),
    "grid": grid(3, 4),
    "grid without sides": grid(3, 4, sides=False),
    "tree": tree(15),
    "long names": parse("first: T[first k m] y[k] z[m]")(first=LONG),
    "many legs": parse("a b c d e f g h: T[a b c d e f g h]"),
    "self loops": parse("i: T[i a a2:a b b2:b] copy[a a2] copy[b b2]"),
}

EDGE = 5.1
"""How far a tapered side may lie within the bounds of its box."""


def assert_nothing_hidden(scene: Scene) -> None:
    assert not [*overlaps(scene)]
    assert measure(scene).overlaps == 0
    for left, top, right, bottom in scene.extents():
        assert left >= 0 and top >= 0 and right <= scene.width and bottom <= scene.height


def assert_wires_start_at_borders(scene: Scene) -> None:
    for wire in scene.wires:
        for end, point in zip(wire.ends, (wire.points[0], wire.points[-1]), strict=True):
            if end is not None:
                assert_on_border(scene.shapes[end], point.x, point.y)


def assert_on_border(shape: Shape, px: float, py: float) -> None:
    if shape.outline == "dot":
        assert math.hypot(px - shape.x, py - shape.y) == pytest.approx(shape.width / 2)
        return
    dx, dy = abs(px - shape.x) / (shape.width / 2), abs(py - shape.y) / (shape.height / 2)
    assert max(dx, dy) <= 1 + 1e-6
    if shape.outline == "disc":
        assert math.hypot(dx, dy) == pytest.approx(1)
    elif shape.outline == "triangle":
        along = {"right": px - shape.x, "left": shape.x - px}[shape.facing or ""] / shape.width
        on_slant = abs(dy - (0.5 - along)) < 1e-6
        assert on_slant or along == pytest.approx(-0.5)
    else:
        gap = min((1 - dx) * shape.width / 2, (1 - dy) * shape.height / 2)
        assert gap <= (EDGE if shape.facing else 1e-6)


def expected_ends(drawable) -> list[int]:
    """For each term the number of wires, those of what is within functions too."""
    sides = drawable.sides if isinstance(drawable, Equation) else (drawable,)
    return [_wires(term) for side in sides for _, term in terms(side)]


def _wires(diagram: Diagram) -> int:
    count = len(diagram.wires) + len(diagram.open)
    for node in diagram.nodes:
        if isinstance(node, Function | Derivative):
            inner = [_wires(term) for _, term in terms(node.inner)]
            passing = len(node.inner.legs) if isinstance(node.inner, Diagram) else 0
            count += sum(inner) - passing
    return count


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_hidden_and_every_leg_is_drawn_once(name):
    scene = lay_out(CASES[name])
    assert_nothing_hidden(scene)
    assert_wires_start_at_borders(scene)
    assert len(scene.wires) == sum(expected_ends(CASES[name]))
    assert lay_out(CASES[name]) == scene
