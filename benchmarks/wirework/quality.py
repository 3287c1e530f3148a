"""Quality of drawings: ours against graphviz, networkx and quimb, on the gallery's networks.

Others place tensors only. What they place is drawn as they draw it, tensors at their places and
wires as straight lines between them (graphviz: its own polylines), scaled to the area of ours, and
measured by the same code. Networks are those of the gallery without functions, each term of a sum
by itself; tensors have the sizes that ours have.
"""

import json
import math
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx

from wirework import Diagram
from wirework.diagram import Box, Copy, terms
from wirework.equation import Equation
from wirework.gallery import figures
from wirework.layout import Point, Scene, Shape, Text, Wire, lay_out, measure
from wirework.layout.labels import width

Places = dict[str, tuple[float, float]]
"""Of nodes ``n0`` and of the ends of open legs ``e0``."""
Drawn = tuple[Places, dict[str, list[tuple[float, float]]]]
"""Places, and the bends of each wire ``w0`` that has some."""
HERE = Path(__file__).parent
QUIMB = Path("build") / "peers" / "quimb"


def run() -> list[dict[str, Any]]:
    """Measure ours and each peer's, in one table."""
    shown = list(_networks())
    peers: dict[str, Callable[[list[Diagram]], list[Drawn]]] = {
        "networkx spring": lambda some: [(_networkx(one, nx.spring_layout), {}) for one in some],
        "networkx Kamada-Kawai": lambda some: [
            (_networkx(one, nx.kamada_kawai_layout), {}) for one in some
        ],
        "graphviz dot": lambda some: [_graphviz(one, "dot") for one in some],
        "graphviz neato": lambda some: [_graphviz(one, "neato") for one in some],
        "quimb": _quimb,
    }
    ours = [lay_out(one) for one in shown]
    rows = [_row("wirework", ours)]
    for name, place in peers.items():
        drawn = place(shown)
        scenes = [
            _scene(one, *found, mine) for one, found, mine in zip(shown, drawn, ours, strict=True)
        ]
        rows.append(_row(name, scenes))
    everything = [lay_out(*figure.drawing) for figure in figures()]
    rows.append(_row("wirework, whole gallery", everything))
    return rows


def _networks() -> Iterator[Diagram]:
    for figure in figures():
        drawable = figure.drawing[0]
        for side in drawable.sides if isinstance(drawable, Equation) else (drawable,):
            for _, term in terms(side):
                if len(term.nodes) > 1 and not any(isinstance(n, Box) for n in term.nodes):
                    yield term


def _row(name: str, scenes: list[Scene]) -> dict[str, Any]:
    found = [measure(scene) for scene in scenes]
    return {
        "layout": name,
        "drawings": len(scenes),
        "crossings": sum(one.crossings for one in found),
        "overlaps": sum(one.overlaps for one in found),
        "bends": sum(one.bends for one in found),
        "wire_length": sum(one.wire_length for one in found),
        "symmetry": sum(one.symmetry for one in found) / len(found),
    }


def _edges(diagram: Diagram) -> list[tuple[str, str]]:
    edges = [(f"n{a.node}", f"n{b.node}") for a, b in diagram.wires]
    return edges + [(f"n{one.port.node}", f"e{k}") for k, one in enumerate(diagram.open)]


def _keys(diagram: Diagram) -> list[str]:
    return [f"n{k}" for k in range(len(diagram.nodes))] + [
        f"e{k}" for k in range(len(diagram.open))
    ]


def _networkx(diagram: Diagram, layout: Callable[..., Any]) -> Places:
    graph = nx.Graph()
    graph.add_nodes_from(_keys(diagram))
    graph.add_edges_from(_edges(diagram))
    seed = {"seed": 0} if layout is nx.spring_layout else {}
    return {key: (float(x), -float(y)) for key, (x, y) in layout(graph, **seed).items()}


def _graphviz(diagram: Diagram, program: str) -> Drawn:
    lines = ['graph { splines=polyline; rankdir=LR; node [shape=box label="" fixedsize=true];']
    for key in _keys(diagram):
        wide, high = _size(diagram, key)
        lines.append(f"{key} [width={wide / 72:.3f} height={high / 72:.3f}];")
    for number, (a, b) in enumerate(_edges(diagram)):
        lines.append(f'{a} -- {b} [label="" comment="w{number}"];')
    source = "\n".join((*lines, "}"))
    command = [shutil.which(program) or program, "-Tjson"]
    found = json.loads(
        subprocess.run(command, input=source, text=True, check=True, capture_output=True).stdout
    )
    places = {}
    for one in found["objects"]:
        x, y = map(float, one["pos"].split(","))
        places[one["name"]] = (x, -y)
    bends = {}
    for edge in found.get("edges", ()):
        words = [word for word in edge["pos"].split() if "," in word and word[0] not in "es"]
        points = [tuple(map(float, word.split(","))) for word in words]
        # A polyline is a spline whose control points repeat its corners.
        corners = [(x, -y) for x, y in points[::3]]
        bends[edge["comment"]] = corners[1:-1]
    return places, bends


def _quimb(diagrams: list[Diagram]) -> list[Drawn]:
    """Places by quimb's default layout, in an environment of its own."""
    python = QUIMB / "bin" / "python"
    if not python.exists():
        venv.create(QUIMB, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "-r", HERE / "quimb.txt"], check=True
        )
    asked = [{"keys": _keys(one), "edges": _edges(one)} for one in diagrams]
    done = subprocess.run(
        [python, HERE / "quimb_worker.py"],
        input=json.dumps(asked),
        text=True,
        check=True,
        capture_output=True,
    )
    return [({key: (x, -y) for key, (x, y) in one.items()}, {}) for one in json.loads(done.stdout)]


def _size(diagram: Diagram, key: str) -> tuple[float, float]:
    if key.startswith("e"):
        return width(diagram.open[int(key[1:])].leg.name, 10.0), 12.0
    node = diagram.nodes[int(key[1:])]
    if isinstance(node, Copy):
        return 7.0, 7.0
    return max(28.8, width(node.name, 13.0) + 12), 28.8  # pyright: ignore[reportAttributeAccessIssue]


def _scene(
    diagram: Diagram, places: Places, bends: dict[str, list[tuple[float, float]]], ours: Scene
) -> Scene:
    """Draw what a peer has placed, at the area of ours; graphviz keeps its own size."""
    scale = 1.0 if bends else _scale(places, ours)
    at = {key: Point(x * scale, y * scale) for key, (x, y) in places.items()}
    shapes, texts = [], []
    for key in _keys(diagram):
        wide, high = _size(diagram, key)
        if key.startswith("e"):
            name = diagram.open[int(key[1:])].leg.name
            texts.append(Text(*at[key], name, "leg", 10.0))
            continue
        node = diagram.nodes[int(key[1:])]
        outline = "dot" if isinstance(node, Copy) else "box"
        shapes.append(Shape(outline, *at[key], wide, high, getattr(node, "name", "")))
    wires = []
    for number, (a, b) in enumerate(_edges(diagram)):
        if a == b:
            continue  # nobody else draws it by itself; it is left out in their favour
        middle = [Point(*point) for point in bends.get(f"w{number}", ())]
        points = [at[a], *middle, at[b]]
        points[0] = _border(points[0], points[1], *_size(diagram, a))
        points[-1] = _border(points[-1], points[-2], *_size(diagram, b))
        ends = (int(a[1:]), int(b[1:]) if b.startswith("n") else None)
        wires.append(Wire(tuple(points), "", "", ends))
    return Scene(0, 0, tuple(shapes), tuple(wires), tuple(texts))


def _scale(places: Places, ours: Scene) -> float:
    xs, ys = zip(*places.values(), strict=True)
    area = max(max(xs) - min(xs), 1e-3) * max(max(ys) - min(ys), 0.1 * (max(xs) - min(xs)), 1e-3)
    return math.sqrt(ours.width * ours.height / area)


def _border(centre: Point, towards: Point, wide: float, high: float) -> Point:
    """Where the line from a centre leaves its box."""
    dx, dy = towards.x - centre.x, towards.y - centre.y
    share = min(wide / 2 / abs(dx) if dx else math.inf, high / 2 / abs(dy) if dy else math.inf, 1.0)
    return Point(centre.x + dx * share, centre.y + dy * share)
