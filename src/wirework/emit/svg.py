"""SVG: text is text, pointing at a thing says what it is, and nothing is loaded or run."""

import hashlib
from html import escape

from wirework.emit.lettering import BASELINE, MUTED, pieces
from wirework.emit.numbers import number
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
from wirework.emit.theme import FRAME_LINE, LINE, LOOP_LINE, THEME, Theme
from wirework.emit.visible import visible
from wirework.layout.labels import SMALL
from wirework.layout.scene import Scene, Shape, Text, Wire

REACH = 9.0
"""Width within which a pointer is on a wire."""
_SHIFTS = {"line": 0.0, "below": 0.22, "above": -0.38}
"""Of indices and exponents, relative to the size of the letter."""


def to_svg(scene: Scene, *, theme: Theme = THEME, title: str = "Tensor diagram") -> str:
    """Write a scene as SVG that stands by itself or within a page.

    Colours are the custom properties ``--wirework-ink``, ``-wire``, ``-muted``, ``-accent``,
    ``-box``, ``-disc``, ``-triangle`` and ``-frame``, which a rule of the page for the svg element
    overrides. They are dark where the page is (``color-scheme``), and in a file by itself where
    ``prefers-color-scheme`` is.

    Args:
        scene: What a layout made.
        theme: Colours and fonts.
        title: What is read aloud in place of the picture.
    """
    width, height = number(max(scene.width, 1.0)), number(max(scene.height, 1.0))
    style = _style(theme)
    # Rules reach the whole page, so each theme has its own class. There are no ids to clash.
    name = f"ww-{hashlib.sha256(style.encode()).hexdigest()[:8]}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" role="img" '
        f'width="{width}pt" height="{height}pt" viewBox="0 0 {width} {height}" '
        f'font-family="{escape(theme.fonts)}" stroke-linecap="round" stroke-linejoin="round">',
        f"<title>{_said(title)}</title>",
        f"<style>{style.replace('.ww', f'.{name}')}</style>",
        *(_shape(shape, theme) for shape in filter(behind, scene.shapes)),
        *(_wire(wire, theme) for wire in scene.wires),
        *(_shape(shape, theme) for shape in scene.shapes if not behind(shape)),
        *(_text(text, theme) for text in scene.texts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _style(theme: Theme) -> str:
    """The rules. Where a viewer knows none of this, the light colours in the attributes hold."""
    colours = "".join(
        f"--wirework-{name}:light-dark({light},{dark});"
        for (name, light), (_, dark) in zip(theme.light.items(), theme.dark.items(), strict=True)
    )
    fills = "".join(
        f".ww .{outline}>path,.ww .{outline}>ellipse{{fill:var(--wirework-{colour})}}"
        for outline, colour in {
            "box": "box", "disc": "disc", "triangle": "triangle", "frame": "frame", "dot": "ink",
        }.items()
    )  # fmt: skip
    return (
        # In a page its own scheme holds: only a document that is the picture follows the system.
        "svg.ww:root{color-scheme:light dark}"
        ".ww{max-width:100%;height:auto}"
        ".ww text{pointer-events:none}"
        "@supports (color:light-dark(#000,#fff)){"
        f":where(.ww){{{colours}}}"
        f"{fills}"
        ".ww path,.ww ellipse{stroke:var(--wirework-ink)}"
        ".ww .frame>path{stroke:var(--wirework-muted)}"
        ".ww .wire>path{stroke:var(--wirework-wire)}"
        ".ww .wire>.arrow{fill:var(--wirework-wire)}"
        ".ww text{fill:var(--wirework-ink)}"
        ".ww .muted{fill:var(--wirework-muted)}"
        ".ww g:hover>path,.ww g:hover>ellipse{stroke:var(--wirework-accent)}"
        "}"
    )


def _shape(shape: Shape, theme: Theme) -> str:
    colours = theme.light
    frame = shape.outline == "frame"
    attributes = {
        "fill": colours.fill(shape.outline),
        "stroke": colours.muted if frame else colours.ink,
        "stroke-width": {"frame": FRAME_LINE, "loop": LOOP_LINE}.get(shape.outline, LINE),
    }
    drawn = [_drawn(outline(shape), attributes)]
    if shape.conjugate:
        drawn.append(_drawn(outline(shape, INSET), {**attributes, "stroke-width": LINE / 2}))
    return f'<g class="{shape.outline}">{_hover(_about(shape))}{"".join(drawn)}</g>'


def _about(shape: Shape) -> str:
    said = shape.hover or shape.name
    return said if shape.error is None else f"{said}\nrelative error {shape.error:.2g}"


def _wire(wire: Wire, theme: Theme) -> str:
    colour = theme.light.wire
    line = wire_line(wire)
    reach = {"fill": "none", "stroke-width": REACH, "stroke-opacity": 0}
    drawn = [
        _drawn(line, {**reach, "pointer-events": "stroke"}),
        _drawn(line, {"fill": "none", "stroke": colour, "stroke-width": LINE}),
    ]
    if wire.arrow:
        tip = {"class": "arrow", "fill": colour, "stroke": colour, "stroke-width": LINE / 2}
        drawn.append(_drawn(arrow(wire), tip))
    return f'<g class="wire">{_hover(wire.hover or wire.dim)}{"".join(drawn)}</g>'


def _text(text: Text, theme: Theme) -> str:
    muted = text.role in MUTED
    baseline = text.y + BASELINE * text.size
    spans, shift = [], 0.0
    for piece in pieces(text.text):
        # An index moves the line that follows it, so each piece takes back the shift before it.
        goal = _SHIFTS[piece.place] * text.size
        attributes: dict[str, object] = {}
        if goal != shift:
            attributes["dy"] = number(goal - shift)
        if piece.place != "line":
            attributes["font-size"] = number(text.size * SMALL)
        if piece.italic:
            attributes["font-style"] = "italic"
        shift = goal
        said = escape(piece.text.replace("'", "\u2032"))
        spans.append(f"<tspan{_written(attributes)}>{said}</tspan>" if attributes else said)
    attributes = {
        "class": f"{text.role} muted" if muted else text.role,
        "x": number(text.x),
        "y": number(baseline),
        "font-size": number(text.size),
        "text-anchor": text.anchor,
        "fill": theme.light.muted if muted else theme.light.ink,
    }
    return f'<text{_written(attributes)} xml:space="preserve">{"".join(spans)}</text>'


def _hover(text: str) -> str:
    return f"<title>{'&#10;'.join(map(_said, text.splitlines()))}</title>"


def _drawn(line: Outline, attributes: dict[str, object]) -> str:
    if isinstance(line, Ellipse):
        lengths = {"cx": line.centre.x, "cy": line.centre.y, "rx": line.rx, "ry": line.ry}
        said = {name: number(length) for name, length in lengths.items()}
        return f"<ellipse{_written(said | attributes)}/>"
    said = "".join(
        command + " ".join(f"{number(point.x)},{number(point.y)}" for point in points)
        for command, points in curves(line)
    )
    return f"<path{_written({'d': said} | attributes)}/>"


def _written(attributes: dict[str, object]) -> str:
    return "".join(f' {name}="{value}"' for name, value in attributes.items())


def _said(text: str) -> str:
    return escape(visible(text))
