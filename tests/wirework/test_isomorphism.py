"""Graphs that are the same under another numbering are found to be, and no others."""

import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirework import einsum, equal, isotopic, tensor, trace
from wirework.isomorphism import Graph, isomorphic


def graph_of(edges, n_nodes, colours):
    graph = Graph()
    for node in range(n_nodes):
        graph.add(colours[node])
    for a, b in edges:
        graph.join(a, b)
    return graph


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 7))
    pairs = [(a, b) for a in range(n) for b in range(a)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    colours = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    return n, edges, colours


@settings(max_examples=300, deadline=None)
@given(graphs(), graphs(), st.randoms())
def test_it_agrees_with_an_exhaustive_search(one, other, random):
    def peer(n, edges, colours):
        graph = nx.Graph()
        graph.add_nodes_from((node, {"colour": colours[node]}) for node in range(n))
        graph.add_edges_from(edges)
        return graph

    n, edges, colours = one
    order = list(range(n))
    random.shuffle(order)
    moved = [(order[a], order[b]) for a, b in edges]
    turned = [colours[order.index(node)] for node in range(n)]
    mine = graph_of(edges, n, colours)
    assert isomorphic(mine, graph_of(moved, n, turned))
    m, others, tints = other
    expected = nx.is_isomorphic(
        peer(*one), peer(*other), node_match=lambda a, b: a["colour"] == b["colour"]
    )
    assert isomorphic(mine, graph_of(others, m, tints)) == expected


def test_two_triangles_are_no_hexagon():
    # Colours alone do not tell them apart: every node has two neighbours.
    hexagon = [(n, (n + 1) % 6) for n in range(6)]
    triangles = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    one, other = graph_of(hexagon, 6, [0] * 6), graph_of(triangles, 6, [0] * 6)
    assert isomorphic(one, one) and isomorphic(other, other) and not isomorphic(one, other)
    a, b = einsum("ab,bc,cd,de,ef,fa->", *"AAAAAA"), einsum("ab,bc,ca,de,ef,fd->", *"AAAAAA")
    assert not isotopic(a, b) and not equal(a, b) and isotopic(a, a)


def test_ends_of_an_edge_are_told_apart():
    def line(first, second):
        graph = Graph()
        graph.join(graph.add("A"), graph.add("A"), first, second)
        return graph

    assert isomorphic(line(0, 1), line(1, 0))
    assert not isomorphic(line(0, 1), line(0, 0))


@pytest.mark.parametrize("ring", [False, True])
def test_three_hundred_equal_tensors_are_compared_at_once(ring):
    one = tensor("A", "i:d j:d")
    chain = one
    for _ in range(299):
        chain = chain @ one
    if ring:
        chain = trace(chain, *(leg.name for leg in chain.legs))
    order = np.random.default_rng(0).permutation(300)
    place = {int(old): new for new, old in enumerate(order)}
    from wirework.diagram import Diagram, Open, Port

    def port(at):
        return Port(place[at.node], at.leg)

    moved = Diagram(
        tuple(chain.nodes[int(old)] for old in order),
        tuple((port(a), port(b)) for a, b in chain.wires),
        tuple(Open(end.leg, port(end.port)) for end in chain.open),
    )
    began = time.perf_counter()
    assert isotopic(chain, moved) and equal(chain, moved)
    assert time.perf_counter() - began < 2  # about 0.03 s; a search by pairs takes minutes
    broken = chain @ one if not ring else one
    assert not isotopic(chain, broken)
