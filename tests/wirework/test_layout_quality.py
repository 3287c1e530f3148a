"""Measures of pictures: each counts what it says, on pictures made by hand."""

import time

import pytest

from wirework.layout import Point, Scene, Shape, Text, Wire, lay_out, measure

from .test_layout_cases import grid, network, train, tree


def box(x, y, outline="box", size=20.0, name=""):
    return Shape(outline, float(x), float(y), float(size), float(size), name)


def wire(*points, ends=(None, None)):
    return Wire(tuple(Point(float(px), float(py)) for px, py in points), "d", ends=ends)


def text(x, y, said, role):
    return Text(float(x), float(y), said, role)


def scene(shapes=(), wires=(), texts=()):
    return Scene(400.0, 400.0, tuple(shapes), tuple(wires), tuple(texts))


@pytest.mark.parametrize(
    ("picture", "overlaps"),
    [
        (scene([box(50, 50), box(100, 50)]), 0),
        (scene([box(50, 50), box(65, 60)]), 1),
        (scene([box(50, 50), box(70, 50)]), 0),
        (scene([box(50, 50, name="A")], texts=[text(50, 50, "A", "name")]), 0),
        (scene([box(50, 50, name="A")], texts=[text(50, 50, "A", "leg")]), 1),
        (scene([box(50, 50, name="A")], texts=[text(60, 50, "A", "name")]), 1),
        (scene(texts=[text(50, 50, "one", "leg"), text(55, 52, "two", "leg")]), 1),
        (scene([box(50, 50, "frame", 80), box(50, 50)]), 0),
        (scene([box(50, 50, "frame", 80), box(90, 50)]), 1),
        (scene([box(50, 50, "loop", 80), box(90, 50, "dot", 6)]), 0),
        (scene([box(50, 50)], [wire((0, 50), (100, 50))]), 1),
        (scene([box(50, 50)], [wire((0, 50), (40, 50), ends=(None, 0))]), 0),
        (scene([box(50, 50, "frame")], [wire((0, 50), (100, 50))]), 0),
        (scene([box(50, 50)], [wire((0, 40), (100, 40))]), 0),
        (scene(wires=[wire((0, 0), (100, 100))], texts=[text(50, 50, "i", "leg")]), 1),
        (scene(wires=[wire((0, 0), (100, 0)), wire((50, 0), (200, 0))]), 1),
        (scene(wires=[wire((0, 0), (100, 0)), wire((100, 0), (200, 0))]), 0),
        (scene(wires=[wire((0, 0), (90, 30)), wire((30, 10), (180, 60))]), 1),
    ],
)
def test_overlaps_are_counted(picture, overlaps):
    assert measure(picture).overlaps == overlaps


def test_crossings_are_counted_once_each():
    cross = wire((0, 0), (100, 100)), wire((0, 100), (100, 0))
    assert measure(scene(wires=cross)).crossings == 1
    assert measure(scene(wires=(wire((0, 0), (10, 0)), wire((0, 5), (10, 5))))).crossings == 0
    # A corner of one wire on another is one crossing, not two.
    corner = wire((0, 50), (200, 50)), wire((50, 0), (60, 50), (50, 100))
    assert measure(scene(wires=corner)).crossings == 1


def test_bends_and_lengths_are_of_wires():
    found = measure(scene(wires=[wire((0, 0), (30, 0), (30, 40)), wire((0, 5), (5, 5), (10, 5))]))
    assert found.bends == 1 and found.wire_length == pytest.approx(80)


def test_symmetry_is_the_share_that_a_reflection_keeps():
    assert measure(scene([box(0, 0), box(50, 0), box(100, 0)])).symmetry == 1
    assert measure(scene([box(0, 0), box(50, 30), box(0, 60)])).symmetry == 1
    assert measure(scene([box(0, 0), box(50, 0), box(120, 0)])).symmetry < 1
    assert measure(scene([box(0, 0), box(100, 0, "disc")])).symmetry == 0
    assert measure(scene()).symmetry == 1


def ring_with_chords(n):
    """Every tensor has three legs: two to its neighbours and one far away."""
    pairs = [(a, (a + 1) % n) for a in range(n)]
    return network([3] * n, pairs + [(a, (a * 7 + n // 2) % n) for a in range(n)])


@pytest.mark.parametrize("diagram", [train(300), tree(300), grid(15, 20), ring_with_chords(300)])
def test_three_hundred_tensors_take_seconds(diagram):
    start = time.process_time()
    found = measure(lay_out(diagram))
    # Under two on an idle machine; the limit is wider, since machines differ.
    assert time.process_time() - start < 10
    assert found.overlaps == 0


def test_a_grid_with_sides_is_a_grid():
    found = measure(lay_out(grid(15, 20)))
    assert (found.crossings, found.bends, found.symmetry) == (0, 0, 1)
