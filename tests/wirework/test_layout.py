"""Layouts: nothing is hidden, every leg is drawn in its order, hints hold, and little moves."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirework import decompose, parse, tensor
from wirework.diagram import Copy, Leg
from wirework.errors import DiagramError
from wirework.layout import Group, Hints, Relation, lay_out, measure

from .test_layout_cases import (
    BILINEAR,
    CASES,
    CP,
    HEAD,
    LONG,
    QK,
    TUCKER,
    A,
    B,
    C,
    assert_nothing_hidden,
    assert_wires_start_at_borders,
    network,
    svd,
    x,
)


def test_a_product_is_a_straight_line_in_its_order():
    scene = lay_out(A @ B @ C @ x)
    assert [shape.name for shape in sorted(scene.shapes, key=lambda one: one.x)] == list("ABCx")
    assert len({shape.y for shape in scene.shapes}) == 1
    assert measure(scene).bends == 0
    (leg,) = (text for text in scene.texts if text.role == "leg")
    assert leg.text == "i" and leg.x < min(shape.x for shape in scene.shapes)


def facings(scene):
    return {shape.name: shape.facing for shape in scene.shapes}


def test_transposes_are_visible():
    scene = lay_out(QK)
    assert [shape.facing for shape in scene.shapes] == ["right", "right", "left", "left"]
    assert [s.name for s in sorted(scene.shapes, key=lambda one: one.x)] == [
        "W_E", "W_Q", "W_K", "W_E",
    ]  # fmt: skip
    assert facings(lay_out(A @ B)) == {"A": "right", "B": "right"}
    assert facings(lay_out(A @ B.T)) == {"A": "right", "B": "left"}
    assert facings(lay_out(A.T @ B)) == {"A": "left", "B": "right"}


def test_symmetric_matrices_face_nowhere_and_isometries_their_bond():
    assert facings(lay_out(svd())) == {"U": "right", "S": None, "V": "left"}
    assert [shape.outline for shape in lay_out(svd()).shapes] == ["triangle", "box", "triangle"]


def test_vectors_and_numbers_are_discs_and_copies_dots():
    scene = lay_out(parse("i: A[i a:d] copy[a b:d c:d] x[b] copy[c]"))
    assert sorted(shape.outline for shape in scene.shapes) == ["box", "disc", "dot", "dot"]
    assert [shape.outline for shape in lay_out(parse(": s[]")).shapes] == ["disc"]


@pytest.mark.parametrize("name", ["hadamard", "hyperedges", "spider", "cp", "bilinear", "two dots"])
def test_wires_of_a_copy_leave_in_different_directions(name):
    scene = lay_out(CASES[name])
    for number, shape in enumerate(scene.shapes):
        if shape.outline != "dot":
            continue
        angles = []
        for wire in scene.wires:
            for end, at in zip(wire.ends, (wire.points[0], wire.points[-1]), strict=True):
                if end == number:
                    angles.append(math.atan2(at.y - shape.y, at.x - shape.x) % (2 * math.pi))
        angles.sort()
        assert len(angles) > 2
        gaps = [
            (b - a) for a, b in zip(angles, [*angles[1:], angles[0] + 2 * math.pi], strict=True)
        ]
        assert min(gaps) > math.radians(10)


@pytest.mark.parametrize("legs", [2, 3, 4, 5, 7])
def test_legs_are_in_their_order_around_a_tensor(legs):
    names = [f"l{number}" for number in range(legs)]
    scene = lay_out(tensor("T", " ".join(names)))
    (shape,) = scene.shapes
    angles = []
    for name in names:
        (wire,) = (one for one in scene.wires if one.hover == name)
        # From the top left over the left and the bottom to the right.
        angle = math.atan2(wire.points[0].x - shape.x, wire.points[0].y - shape.y)
        angles.append((angle + math.pi) % (2 * math.pi))
    assert angles == sorted(angles)


@pytest.mark.parametrize("side", ["left", "right", "up", "down"])
def test_a_leg_leaves_on_the_side_that_is_asked_for(side):
    legs = (Leg("a", "d", side), Leg("b", "d"), Leg("c", "d"))
    scene = lay_out(tensor("T", legs))
    (shape,) = scene.shapes
    (wire,) = (one for one in scene.wires if one.hover == "a:d")
    dx, dy = wire.points[0].x - shape.x, wire.points[0].y - shape.y
    dx, dy = dx / shape.width, dy / shape.height
    found = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
    assert found == side
    assert_nothing_hidden(scene)


def test_a_tucker_core_has_a_factor_at_three_sides():
    at = {shape.name: shape for shape in lay_out(TUCKER).shapes}
    core = at["G"]
    assert at["A"].x < core.x < at["C"].x and at["A"].y == core.y == at["C"].y
    assert at["B"].y > core.y and at["B"].x == core.x


def test_forks_are_symmetric_and_unbent_where_they_meet():
    scene = lay_out(BILINEAR)
    at = {shape.name: shape for shape in scene.shapes if shape.name}
    assert at["D"].y == at["x"].y == pytest.approx((at["L"].y + at["R"].y) / 2)
    assert at["L"].x == at["R"].x
    assert measure(scene).crossings == 0
    assert measure(scene).symmetry > 0.6


def test_parallel_wires_are_parallel():
    scene = lay_out(parse("i k: A[i a b] B[a b k]"))
    assert measure(scene).crossings == 0 and measure(scene).bends == 0


def test_a_trace_goes_around():
    scene = lay_out(CASES["trace of three"])
    top = min(shape.bounds[1] for shape in scene.shapes)
    assert sum(any(p.y < top for p in wire.points) for wire in scene.wires) == 1


def test_functions_are_frames_that_legs_pass_through():
    scene = lay_out(HEAD)
    frame = scene.shapes[0]
    assert (frame.outline, frame.name) == ("frame", "softmax (i')")
    left, top, right, bottom = frame.bounds
    inside = [s.name for s in scene.shapes[1:] if left < s.x < right and top < s.y < bottom]
    assert inside == ["x", "W_Q", "W_K", "x"]
    through = [w for w in scene.wires if min(p.x for p in w.points) < left < w.points[0].x]
    assert len(through) == 1 and through[0].ends[1] is None


def test_a_derivative_is_a_loop_whose_legs_start_at_dots():
    scene = lay_out(CASES["derivative with legs"])
    loop = scene.shapes[0]
    assert loop.outline == "loop"
    dots = [number for number, shape in enumerate(scene.shapes) if shape.outline == "dot"]
    assert [wire.hover for wire in scene.wires if wire.ends[0] in dots] == ["k:d", "l:d"]
    assert all(scene.shapes[one].x in (loop.bounds[0], loop.bounds[2]) for one in dots)


def signs(scene, role="sign"):
    return [text.text for text in scene.texts if text.role == role]


def test_signs_stand_before_terms_without_ones():
    assert signs(lay_out(CASES["sum"])) == ["− 2", "+ ½"]
    assert signs(lay_out(-A)) == ["−"]
    assert signs(lay_out(2.5 * A - (1 / 3) * B)) == ["5/2", "− 1/3"]
    assert signs(lay_out(CASES["nothing"])) == ["0"]


def test_rows_begin_with_relations_below_the_first():
    scene = lay_out(CASES["equation"])
    first, second = (text for text in scene.texts if text.role == "relation")
    assert first.x == pytest.approx(second.x) and second.y > first.y
    notes = lay_out(CASES["notes"])
    assert signs(notes, "note") == ["a rule", "another rule"]
    for note, relation in zip(
        (t for t in notes.texts if t.role == "note"),
        (t for t in notes.texts if t.role == "relation"),
        strict=True,
    ):
        assert note.x == pytest.approx(relation.x) and note.y < relation.y


def test_wide_sums_wrap():
    assert lay_out(CASES["wide sum"]).width < 800


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (A @ B @ C, A @ B @ C @ x),
        (parse("i k: A[i j] B[j k]"), parse("i l k: A[i j] B[j l k]")),
        (CP, parse("i k: A[i a:r] B[j b:r] C[k c:r] copy[a b c] y[j]")),
    ],
)
def test_what_is_there_moves_little_when_something_is_added(smaller, larger):
    before, after = lay_out(smaller), lay_out(larger)
    assert len({shape.name for shape in before.shapes}) == len(before.shapes)
    first = before.shapes[0], after.shapes[0]
    for shape in before.shapes:
        now = next(one for one in after.shapes if one.name == shape.name)
        for axis in ("x", "y"):
            was = getattr(shape, axis) - getattr(first[0], axis)
            assert abs(getattr(now, axis) - getattr(first[1], axis) - was) <= 12


def test_new_names_change_nothing_but_labels():
    def renamed(node):
        if isinstance(node, Copy):
            return node
        return replace(node, name={"A": "P", "B": "Q", "C": "R"}[node.name])

    new = replace(CP, nodes=tuple(map(renamed, CP.nodes)))
    before, after = lay_out(CP), lay_out(new)
    assert [w.points for w in before.wires] == [w.points for w in after.wires]
    assert [(s.x, s.y) for s in before.shapes] == [(s.x, s.y) for s in after.shapes]
    assert [s.name for s in before.shapes] != [s.name for s in after.shapes]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_random_networks_hide_nothing(data):
    n = data.draw(st.integers(1, 9))
    degrees = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    node = st.integers(0, n - 1)
    pairs = data.draw(st.lists(st.tuples(node, node), max_size=14))
    scene = lay_out(network(degrees, pairs))
    assert_nothing_hidden(scene)
    assert_wires_start_at_borders(scene)


@settings(deadline=None, max_examples=30)
@given(name=st.text(min_size=1, max_size=60))
def test_hostile_names_hide_nothing(name):
    leg = Leg(name, "d")
    scene = lay_out(tensor(name, (leg, Leg(name + "'", "d"), Leg(name + "''", "d"))))
    assert_nothing_hidden(scene)


def centres(scene):
    return {shape.name: (shape.x, shape.y) for shape in scene.shapes if shape.name}


PINS = {"D": (0.0, 0.0), "L": (110.0, -60.0), "R": (110.0, 75.0), "x": (260.0, 5.0)}


def test_pins_are_exact_and_hide_nothing():
    scene = lay_out(BILINEAR, Hints(pins=PINS))
    at = centres(scene)
    for name, (px, py) in PINS.items():
        assert at[name][0] - at["D"][0] == pytest.approx(px)
        assert at[name][1] - at["D"][1] == pytest.approx(py)
    assert_nothing_hidden(scene)
    assert_wires_start_at_borders(scene)


RELATIONS = (
    Relation("B", "above", "A"),
    Relation("C", "right of", "B"),
    Relation("x", "in column with", "C"),
    Relation("x", "below", "C"),
    Relation("B", "level with", "C"),
)


def test_relations_hold():
    free = centres(lay_out(A @ B @ C @ x))
    assert free["B"][1] == free["A"][1]
    scene = lay_out(A @ B @ C @ x, Hints(relations=RELATIONS))
    at = centres(scene)
    assert at["B"][1] < at["A"][1] and at["C"][0] > at["B"][0] and at["x"][1] > at["C"][1]
    assert at["x"][0] == pytest.approx(at["C"][0]) and at["B"][1] == pytest.approx(at["C"][1])
    assert_nothing_hidden(scene)


def test_groups_are_frames_around_their_nodes():
    scene = lay_out(QK, Hints(groups=(Group("QK circuit", ("W_Q", "W_K")),)))
    (frame,) = (shape for shape in scene.shapes if shape.outline == "frame")
    left, _, right, _ = frame.bounds
    inside = {shape.name for shape in scene.shapes if left < shape.x < right} - {frame.name}
    assert inside == {"W_Q", "W_K"}
    assert "QK circuit" in signs(scene, "title")
    assert len(scene.wires) == len(QK.wires) + len(QK.open)
    assert_nothing_hidden(scene)


def test_a_pin_in_a_group_moves_the_frame():
    hints = Hints(
        pins={"W_Q": (0.0, 0.0), 0: (-150.0, 60.0)}, groups=(Group("QK", ("W_Q", "W_K")),)
    )
    scene = lay_out(QK, hints)
    first = next(shape for shape in scene.shapes if shape.name == "W_E")
    query = next(shape for shape in scene.shapes if shape.name == "W_Q")
    assert (first.x - query.x, first.y - query.y) == pytest.approx((-150.0, 60.0))
    assert_nothing_hidden(scene)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (Hints(pins={"Z": (0.0, 0.0)}), "expected the name of a node, got 'Z'; there are A, B"),
        (Hints(pins={9: (0.0, 0.0)}), "expected the number of a node, 0 to 2, got 9"),
        (
            Hints(pins={"A": (0.0, 0.0)}),
            "expected the name of one node, got 'A', which 2 nodes have",
        ),
        (Hints(pins={"A#3": (0.0, 0.0)}), "expected one of 2 nodes named 'A', got 'A#3'"),
        (Hints(relations=(Relation("B", "near", 0),)), "expected a relation among left of"),  # pyright: ignore
        (Hints(relations=(Relation("B", "above", 0), Relation(0, "above", "B"))), "contradict"),
        (Hints(relations=(Relation("B", "above", "B"),)), "expected a relation between two nodes"),
        (Hints(pins={0: (0.0, 0.0), 1: (3.0, 0.0)}), "expected hints that can all hold"),
        (
            Hints(pins={0: (0.0, 0.0), "B": (50.0, 0.0)}, relations=(Relation("B", "left of", 0),)),
            "expected hints that can all hold",
        ),
        (
            Hints(pins={0: (0.0, 0.0), 1: (30.0, 0.0), 2: (60.0, 0.0)}),
            "expected room for every wire, got none for leg",
        ),
        (Hints(groups=(Group("g", ()),)), "expected at least one node in each group"),
        (Hints(groups=(Group("g", (0,)), Group("h", (0, 1)))), "expected each node in one group"),
        (
            Hints(pins={0: (0.0, 0.0), 1: (50.0, 5.0)}, groups=(Group("g", (0, 1)),)),
            "expected one pin",
        ),
    ],
)
def test_hints_that_cannot_hold_are_refused(hints, message):
    lay_out(A @ B @ A, Hints(pins={"A#2": (0.0, 0.0)}))  # The diagram by itself can have hints.
    with pytest.raises(DiagramError, match=message):
        lay_out(A @ B @ A, hints)


def test_hints_across_terms_are_refused():
    with pytest.raises(DiagramError, match="expected hints within one term"):
        lay_out(A @ B + B @ C, Hints(pins={0: (0.0, 0.0), 2: (50.0, 0.0)}))


def test_long_names_are_kept_whole():
    scene = lay_out(CASES["long names"])
    assert LONG in signs(scene, "leg")


def test_a_truncated_factor_says_what_it_lacks_within_its_outline():
    arrays = {"W": np.random.default_rng(0).standard_normal((6, 5))}
    cut = decompose.svd(tensor("W", "i j"), "W", "i", arrays=arrays, rank=2)
    scene = lay_out(cut.diagram)
    printed = [text for text in scene.texts if text.role == "note"]
    assert {text.text for text in printed} == {f"±{cut.error:.2g}"} and len(printed) == 3
    assert measure(scene).overlaps == 0
    for text in printed:
        left, top, right, bottom = text.bounds
        assert any(
            a <= left and b <= top and right <= c and bottom <= d
            for a, b, c, d in (shape.bounds for shape in scene.shapes)
        )
    # Control: with all singular values nothing is lacking, and nothing is printed.
    whole = lay_out(decompose.svd(tensor("W", "i j"), "W", "i", arrays=arrays).diagram)
    assert not [text for text in whole.texts if text.role == "note"]


def test_bonds_have_their_dimension_printed_where_it_hides_nothing():
    arrays = {"T": np.random.default_rng(0).standard_normal((3, 4, 4, 3))}
    cut = decompose.tensor_train(tensor("T", "i j k l"), "T", "i j k l", arrays=arrays, rank=2)
    assert set(cut.bonds.values()) == {2} and len(cut.bonds) == 3
    plain, sized = lay_out(cut.diagram), lay_out(cut.diagram, Hints(sizes=cut.bonds))
    printed = [text for text in sized.texts if text.role == "dim"]
    assert [text.text for text in printed] == ["2", "2", "2"]
    assert measure(sized).overlaps == 0
    # Nothing else has moved, and without sizes nothing is printed.
    assert (sized.shapes, sized.wires) == (plain.shapes, plain.wires)
    assert not [text for text in plain.texts if text.role == "dim"]
    # Control: in the middle of a wire it would hide it.
    (first, *_) = printed
    onto = replace(first, y=first.y + 6.3)
    assert measure(replace(sized, texts=(*plain.texts, onto))).overlaps > 0
