"""PNG and PDF through matplotlib's objects, without its state of figures and windows."""

import io
from functools import cache
from typing import Any

from wirework.emit.lettering import BASELINE, MUTED, pieces
from wirework.emit.outlines import (
    INSET,
    Ellipse,
    Outline,
    arrow,
    behind,
    curves,
    outline,
    wire_line,
)
from wirework.emit.theme import FRAME_LINE, LIGHT, LINE, LOOP_LINE, Palette
from wirework.emit.tikz import joined
from wirework.emit.visible import spelt
from wirework.errors import MissingExtraError
from wirework.layout.scene import Scene, Shape, Text, Wire

_POINTS = 72.0
"""Per inch."""
_FONT = "stix"
"""Comes with matplotlib and looks as papers do."""
_ALIGNED = {"start": "left", "middle": "center", "end": "right"}


def to_png(scene: Scene, *, dpi: float = 192.0, palette: Palette = LIGHT) -> bytes:
    """Draw a scene on white, as a PNG.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    return _saved(scene, palette, format="png", dpi=dpi, metadata={"Software": None})


def to_pdf(scene: Scene, *, palette: Palette = LIGHT) -> bytes:
    """Draw a scene as a PDF of its size, on nothing, with its fonts as TrueType.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    unsigned = {"CreationDate": None, "Creator": None, "Producer": None}
    return _saved(scene, palette, format="pdf", transparent=True, metadata=unsigned)


def _saved(scene: Scene, palette: Palette, **options: Any) -> bytes:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            "expected matplotlib for PNG and PDF, got no such package. It is optional; run: "
            "pip install 'unmask[draw]', or write SVG or TikZ, which need nothing."
        ) from error
    # Type 42 is TrueType: text can be searched, and journals refuse the default, type 3.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        written = io.BytesIO()
        _figure(scene, palette).savefig(written, **options)
    return written.getvalue()


def _figure(scene: Scene, palette: Palette) -> Any:
    from matplotlib.figure import Figure

    width, height = max(scene.width, 1.0), max(scene.height, 1.0)
    figure = Figure(figsize=(width / _POINTS, height / _POINTS))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=(), yticks=())
    axes.set(xlim=(0, width), ylim=(height, 0))
    # Patches keep the order in which they come; texts are in front of them.
    for shape in filter(behind, scene.shapes):
        _add_shape(axes, shape, palette)
    for wire in scene.wires:
        _add_wire(axes, wire, palette)
    for shape in scene.shapes:
        if not behind(shape):
            _add_shape(axes, shape, palette)
    for text in scene.texts:
        _add_text(axes, text, palette)
    return figure


def _add_shape(axes: Any, shape: Shape, palette: Palette) -> None:
    line = {"frame": FRAME_LINE, "loop": LOOP_LINE}.get(shape.outline, LINE)
    style = {
        "facecolor": palette.fill(shape.outline),
        "edgecolor": palette.muted if shape.outline == "frame" else palette.ink,
    }
    axes.add_patch(_patch(outline(shape), linewidth=line, **style))
    if shape.conjugate:
        axes.add_patch(_patch(outline(shape, INSET), linewidth=LINE / 2, **style))


def _add_wire(axes: Any, wire: Wire, palette: Palette) -> None:
    style = {"edgecolor": palette.wire, "linewidth": LINE}
    axes.add_patch(_patch(wire_line(wire), facecolor="none", capstyle="round", **style))
    if wire.arrow:
        axes.add_patch(_patch(arrow(wire), facecolor=palette.wire, **style))


def _add_text(axes: Any, text: Text, palette: Palette) -> None:
    said = joined(pieces(text.text), _character)
    axes.text(
        text.x,
        text.y + BASELINE * text.size,
        f"${said}$" if said else "",
        size=text.size,
        color=palette.muted if text.role in MUTED else palette.ink,
        ha=_ALIGNED[text.anchor],
        va="baseline",
        math_fontfamily=_FONT,
    )


def _patch(line: Outline, **style: Any) -> Any:
    from matplotlib import patches, path

    if isinstance(line, Ellipse):
        return patches.Ellipse(line.centre, 2 * line.rx, 2 * line.ry, **style)
    codes = {"M": path.Path.MOVETO, "L": path.Path.LINETO, "C": path.Path.CURVE4}
    places, steps = [], []
    for command, points in curves(line):
        places += points or line.points[:1]
        steps += [codes[command]] * len(points) if points else [path.Path.CLOSEPOLY]
    return patches.PathPatch(path.Path(places, steps), joinstyle="round", **style)


_ESCAPED = {
    "\\": r"\backslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "%": r"\%", "_": r"\_",
    "#": "♯", "^": "ˆ", "~": "∼", "`": "‘", '"': "''", "-": "‐",
}  # fmt: skip
"""What matplotlib's mathematics would read as a command, and #, which it cannot write."""


def _character(character: str) -> str:
    if character.isspace():
        return r"\ "
    if character in _ESCAPED:
        return _ESCAPED[character]
    if ord(character) not in _letters():
        return spelt(character)
    return character


@cache
def _letters() -> frozenset[int]:
    """Code points that the font has."""
    from matplotlib import font_manager, ft2font

    return frozenset(ft2font.FT2Font(font_manager.findfont("STIXGeneral")).get_charmap())
