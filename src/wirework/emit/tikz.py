r"""TikZ that needs the package ``tikz`` and nothing else, to be pasted into a paper and edited."""

import unicodedata
from collections.abc import Callable, Iterator

from wirework.emit.lettering import BASELINE, MUTED, Piece, pieces
from wirework.emit.numbers import number
from wirework.emit.outlines import (
    INSET,
    Ellipse,
    Outline,
    Polygon,
    arrow,
    behind,
    outline,
    wire_line,
)
from wirework.emit.theme import FRAME_LINE, LIGHT, LINE, LOOP_LINE, Palette
from wirework.emit.visible import spelt
from wirework.layout.labels import GREEK
from wirework.layout.scene import Point, Scene, Shape, Text, Wire

_ANCHORS = {"start": "base west", "middle": "base", "end": "base east"}
_COMMANDS = {
    **{letter: f"\\{name}" for name, letter in GREEK.items()}, "ς": r"\varsigma",
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True)),  # TeX has no others
    "\\": r"\backslash", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\hat{\ }", "~": r"\sim", "|": "|", '"': "''", "`": r"\grave{\ }",
    "-": r"\mbox{-}", "−": "-", "±": r"\pm", "×": r"\times", "·": r"\cdot", "÷": r"\div",
    "∘": r"\circ", "∗": "*",
    "⊗": r"\otimes", "⊕": r"\oplus", "⊙": r"\odot", "†": r"\dagger", "‡": r"\ddagger",
    "∂": r"\partial", "∇": r"\nabla", "∞": r"\infty", "∑": r"\sum", "∏": r"\prod", "∫": r"\int",
    "√": r"\surd", "∈": r"\in", "∀": r"\forall", "∃": r"\exists", "∅": r"\emptyset",
    "=": "=", "≈": r"\approx", "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "≡": r"\equiv",
    "∝": r"\propto", "∼": r"\sim", "≅": r"\cong", "→": r"\rightarrow", "←": r"\leftarrow",
    "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "⇔": r"\Leftrightarrow", "↦": r"\mapsto",
    "′": r"\prime", "⟨": r"\langle", "⟩": r"\rangle", "‖": r"\|", "ℓ": r"\ell", "…": r"\ldots",
    "–": "-", "—": "-", "‘": "`", "’": "'", "“": "``", "”": "''",
    "½": r"\textstyle\frac{1}{2}", "¼": r"\textstyle\frac{1}{4}", "¾": r"\textstyle\frac{3}{4}",
    "¹": r"{}^{1}", "²": r"{}^{2}", "³": r"{}^{3}",
    "ß": r"\mbox{\ss}", "ø": r"\mbox{\o}", "Ø": r"\mbox{\O}", "ł": r"\mbox{\l}",
    "Ł": r"\mbox{\L}", "æ": r"\mbox{\ae}", "Æ": r"\mbox{\AE}", "œ": r"\mbox{\oe}",
    "Œ": r"\mbox{\OE}", "å": r"\mbox{\aa}", "Å": r"\mbox{\AA}", "ı": r"\imath",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "grave", "\u0301": "acute", "\u0302": "hat", "\u0303": "tilde", "\u0304": "bar",
    "\u0306": "breve", "\u0307": "dot", "\u0308": "ddot", "\u030a": "mathring", "\u030c": "check",
}  # fmt: skip
_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789()[]<>/+*=,.;:!?'@|"
)


def to_tikz(scene: Scene, *, palette: Palette = LIGHT, standalone: bool = False) -> str:
    r"""Write a scene as a ``tikzpicture``, in points, with the y axis downwards.

    Args:
        scene: What a layout made.
        palette: Colours, which are defined within the picture.
        standalone: Whether to make a document of it, of the picture's size.
    """
    lines = [
        r"\begin{tikzpicture}[x=1bp, y=-1bp, line cap=round, line join=round,",
        f"  line width={number(LINE)}bp, every node/.style={{inner sep=0pt, outer sep=0pt,",
        r"    font=\fontsize{10}{12}\selectfont}]",
        *(
            rf"\definecolor{{ww{name}}}{{HTML}}{{{colour.lstrip('#').upper()}}}"
            for name, colour in palette.items()
        ),
        rf"\useasboundingbox (0,0) rectangle {_point(Point(scene.width, scene.height))};",
        *(line for shape in filter(behind, scene.shapes) for line in _shape(shape)),
        *(line for wire in scene.wires for line in _wire(wire)),
        *(line for shape in scene.shapes if not behind(shape) for line in _shape(shape)),
        *map(_text, scene.texts),
        r"\end{tikzpicture}",
    ]
    if standalone:
        head = [r"\documentclass[tikz]{standalone}", r"\begin{document}"]
        lines = [*head, *lines, r"\end{document}"]
    return "\n".join(lines) + "\n"


def math(label: str) -> str:
    r"""A label in TeX's mathematics: any text is safe, and what TeX's fonts lack is spelt out.

    >>> math("W_Q^T"), math("Sigma_in"), math("50%")
    ('W_{Q}^{T}', '\\Sigma_{\\mathrm{in}}', '\\mathrm{50{\\%}}')
    """
    return joined(pieces(label), _character)


def joined(found: list[Piece], character: Callable[[str], str]) -> str:
    """Put pieces together as TeX and matplotlib both read them."""
    said, before = "", {"line"}
    for piece in found:
        inner = "".join(map(character, piece.text))
        if len(piece.text) > 1:
            inner = "".join(_braced(character(one)) for one in piece.text)
            inner = inner if piece.italic else rf"\mathrm{{{inner}}}"
        if piece.place == "line":
            said += inner
            continue
        # A second index at one place is an error to TeX, so an empty letter carries it.
        carrier = "{}" if piece.place in before else ""
        before = {piece.place} if carrier else {*before, piece.place}
        said += f"{carrier}{'_' if piece.place == 'below' else '^'}{{{inner}}}"
    return said


def _braced(said: str) -> str:
    """A sign within a word is a letter, with no space around it, and a command ends."""
    return said if said.isalnum() or said in (*",.;!?'()[]@|", r"\ ") else f"{{{said}}}"


def _character(character: str) -> str:
    if character in _PLAIN:
        return character
    if character.isspace():
        return r"\ "
    if character in _COMMANDS:
        return _COMMANDS[character]
    base, *marks = unicodedata.normalize("NFD", character)
    if base in _PLAIN and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    code = spelt(character)[1:-1].replace("+", "{+}")
    return rf"\langle\mathrm{{{code}}}\rangle"


def _shape(shape: Shape) -> Iterator[str]:
    fill, line = {
        "frame": ("wwframe", "wwmuted"),
        "loop": ("", "wwink"),
        "dot": ("wwink", "wwink"),
    }.get(shape.outline, (f"ww{shape.outline}", "wwink"))
    options = [f"draw={line}", *([f"fill={fill}"] if fill else [])]
    if (width := {"frame": FRAME_LINE, "loop": LOOP_LINE}.get(shape.outline)) is not None:
        options.append(f"line width={number(width)}bp")
    yield _drawn(outline(shape), options)
    if shape.conjugate:
        thin = f"line width={number(LINE / 2)}bp"
        yield _drawn(outline(shape, INSET), [f"draw={line}", thin])


def _wire(wire: Wire) -> Iterator[str]:
    yield _drawn(wire_line(wire), ["draw=wwwire"])
    if wire.arrow:
        yield _drawn(arrow(wire), ["fill=wwwire"])


def _text(text: Text) -> str:
    colour = "wwmuted" if text.role in MUTED else "wwink"
    options = [f"anchor={_ANCHORS[text.anchor]}", f"text={colour}"]
    if text.size != 10:
        options.append(f"scale={number(text.size / 10)}")
    place = _point(Point(text.x, text.y + BASELINE * text.size))
    return rf"\node[{', '.join(options)}] at {place} {{${math(text.text)}$}};"


def _drawn(line: Outline, options: list[str]) -> str:
    if isinstance(line, Ellipse):
        radii = f"x radius={number(line.rx)}bp, y radius={number(line.ry)}bp"
        if line.rx == line.ry:
            radii = f"radius={number(line.rx)}bp"
        return rf"\path[{', '.join(options)}] {_point(line.centre)} circle[{radii}];"
    if line.radius:
        options = [*options, f"rounded corners={number(line.radius)}bp"]
    return rf"\path[{', '.join(options)}] {_path(line)};"


def _path(line: Polygon) -> str:
    return " -- ".join(map(_point, line.points)) + (" -- cycle" if line.closed else "")


def _point(point: Point) -> str:
    return f"({number(point.x)},{number(point.y)})"
