"""Emitters: the picture is written down safely and loads nothing, whatever the labels are."""

import doctest
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from wirework import Leg, draw, lay_out, parse, parse_equation, tensor
from wirework.emit import (
    BARE,
    Palette,
    lettering,
    numbers,
    outlines,
    tikz,
    to_pdf,
    to_png,
    to_svg,
    to_tikz,
    visible,
)
from wirework.errors import MissingExtraError, WireworkError
from wirework.layout.scene import Point, Scene, Shape, Text, Wire

GOLDEN = Path(__file__).parent / "golden"
REGENERATE = "WIREWORK_REGENERATE_GOLDEN"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "quotes": "' onmouseover='alert(1) \" onload=\"1",
    "cdata": "]]></svg><!-- -- > --><script>1</script>",
    "url": "javascript:alert(1)//http://evil.example/x",
    "entity": "&amp; &#60; &x;",
    "reordering": "safe \u202eevil\u202c \u2066a\u2069 \u200f\u061c",
    "zero width": "pass\u200bword\ufeff\u00ad",
    "control": "nul \x00 bell \x07 escape \x1b[2J \r",
    "lines": "a\n\n\tb\\\\c",
    "surrogate": "lone \ud800 end \ufffe",
    "long": "a" * 10_000,
    "combining": "Z" + "\u0300" * 400,
    "tex": r"\input{/etc/passwd} $x$ \\ } { \end{tikzpicture} \write18{ls}",
    "tex special": "# $ % & ~ _ ^ \\ { } ` \" | @ ! ? ; ' '' - -- +-*/=<>[]()",
    "indices": "a_b_c^d^{e}_{f g}'^h'",
    "twice": "a_b_c^d^e_f",
    "broken": "a_ ^ _{x }} {",
    "math": "α Ω Ο ∂f ≈ ∇² ⊗ ½ é ł Å ſ İ",
    "scripts": "中文 שלום 😀 ａ 𝔸 𝐖",
    "empty": "",
    "spaces": "   ",
    "comment": "50% # of %",
}


def picture(label: str | None = None) -> Scene:
    """One of every outline, role and anchor; a label in place of all texts, if there is one."""

    def said(text: str) -> str:
        return text if label is None else label

    def wire(*points: tuple[float, float], dim: str, arrow: bool = False) -> Wire:
        places = tuple(Point(*map(float, point)) for point in points)
        return Wire(places, said(dim), hover=said(f"{dim}, of 64"), arrow=arrow)

    def shape(outline, x, y, width, height, name, **more) -> Shape:
        place = map(float, (x, y, width, height))
        return Shape(outline, *place, said(name), hover=said(f"{name}[a b]"), **more)

    shapes = (
        shape("frame", 150, 60, 190, 100, "attention"),
        shape("loop", 320, 60, 70, 70, "d/dx"),
        shape("box", 90, 40, 36, 28.8, "W_Q", facing="right"),
        shape("box", 190, 40, 36, 28.8, "A", facing="left", conjugate=True),
        shape("disc", 90, 86, 28.8, 28.8, "x'"),
        shape("triangle", 190, 86, 32, 28.8, "U", facing="left", conjugate=True, error=0.00123),
        shape("dot", 140, 60, 7, 7, "copy"),
        shape("box", 320, 60, 40, 28.8, "Sigma_in", facing="up"),
        shape("box", 420, 30, 30, 20, "f", facing="down"),
        shape("triangle", 420, 80, 30, 28, "V", facing="down"),
        shape("box", 470, 60, 20, 20, "S"),
    )
    wires = (
        wire((20, 40), (72, 40), dim="d"),
        wire((108, 40), (140, 40), (140, 56.5), dim="head"),
        wire((140, 60), (160, 60), (160, 40), (172, 40), dim="head"),
        wire((208, 40), (280, 40), (280, 60), (300, 60), dim="k", arrow=True),
        wire((104, 86), (120, 86), (120, 85), (140, 85), (140, 63.5), dim="i"),
        wire((340, 60), (380, 60), (380, 60), dim="j"),
    )
    texts = tuple(
        replace(text, text=said(text.text))
        for text in (
            Text(90.0, 40.0, "W_Q", "name"),
            Text(190.0, 40.0, "A*", "name"),
            Text(90.0, 86.0, "x'", "name"),
            Text(192.0, 86.0, "U_r^T", "name", 10.0),
            Text(320.0, 60.0, "Sigma_in", "name", 10.0),
            Text(150.0, 17.0, "attention", "title", 10.0),
            Text(16.0, 40.0, "q", "leg", 10.0, "end"),
            Text(384.0, 60.0, "j'", "leg", 10.0, "start"),
            Text(235.0, 32.0, "d_model", "dim", 7.0),
            Text(500.0, 60.0, "≈", "relation", 14.0),
            Text(520.0, 60.0, "-2", "sign", 12.0),
            Text(500.0, 45.0, "orthogonality of U", "note", 7.0),
        )
    )
    return Scene(560.0, 120.0, shapes, wires, texts)


EMPTY = Scene(0.0, 0.0, (), (), ())


def test_examples_in_docstrings_hold():
    for module in (lettering, numbers, tikz, visible):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed


@pytest.mark.parametrize("name", ["picture.svg", "picture.tex"])
def test_pictures_are_as_they_were(name):
    write = to_svg if name.endswith("svg") else to_tikz
    said, file = write(picture()), GOLDEN / name
    if os.environ.get(REGENERATE):
        file.write_text(said, encoding="utf-8", newline="\n")
    assert said == write(picture())
    assert said == file.read_text(encoding="utf-8"), (
        f"{name} changed; look at it, then run with {REGENERATE}=1"
    )


# SVG


def shown(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", [None, *HOSTILE])
def test_svg_is_well_formed_and_loads_and_runs_nothing(name):
    label = HOSTILE[name] if name else None
    svg = to_svg(picture(label), title=label or "A picture")
    svg.encode("utf-8")
    root = ElementTree.fromstring(svg)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "style", "g", "path", "ellipse", "text", "tspan"}
    names = {key for element in root.iter() for key in element.attrib}
    assert not {key for key in names if key.startswith("on") or "href" in key or key == "id"}
    assert "url(" not in svg and "@import" not in svg
    assert "://" not in svg.replace("http://www.w3.org/2000/svg", "", 1) or name == "url"
    hidden = re.compile(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
    )
    assert not hidden.search(svg)


def test_svg_keeps_text_as_text_with_indices():
    assert shown(to_svg(picture()))[:4] == ["WQ", "A∗", "x′", "UrT"]
    assert shown(to_svg(picture("a<b&c")))[0] == "a<b&c"
    assert "⟨U+202E⟩evil" in shown(to_svg(picture(HOSTILE["reordering"])))[0]
    assert len(shown(to_svg(picture(HOSTILE["long"])))[0]) == visible.LONGEST


def test_svg_returns_to_the_line_after_an_index():
    root = ElementTree.fromstring(to_svg(picture("a_b^c")))
    first = next(root.iter(f"{SVG}text"))
    shifts = [float(span.get("dy", 0)) for span in first.iter(f"{SVG}tspan")]
    assert shifts[-2] > 0 > sum(shifts)  # below the line, and then above it


def test_svg_says_what_is_pointed_at():
    root = ElementTree.fromstring(to_svg(picture(), title="Attention"))
    assert root.get("role") == "img" and root[0].text == "Attention"
    titles = [group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g")]
    assert "W_Q[a b]" in titles and "d, of 64" in titles
    assert "U[a b]\nrelative error 0.0012" in titles


def test_svg_themes_stand_in_one_page_without_clashing():
    one, other = to_svg(picture()), to_svg(picture(), theme=BARE)
    classes = [ElementTree.fromstring(svg).get("class") for svg in (one, other)]
    assert classes[0] != classes[1]
    for svg, known in ((one, classes[0]), (other, classes[1])):
        rules = ElementTree.fromstring(svg).findtext(f"{SVG}style") or ""
        assert "light-dark(" in rules and "color-scheme:light dark" in rules
        selectors = re.findall(r"(?:^|[{};,])([^{};,@]*?\.ww[^{,]*)", rules)
        assert selectors and all(f".{known}" in selector for selector in selectors)


def test_colours_are_checked():
    with pytest.raises(WireworkError, match="#rrggbb for ink, got 'red;}'.*#ff0000"):
        Palette(ink="red;}")


@pytest.mark.parametrize("label", HOSTILE.values(), ids=HOSTILE)
def test_any_name_is_drawn_from_end_to_end(label):
    diagram = tensor(label, (Leg(label, label), Leg("j", label)))
    svg = draw(diagram)
    ElementTree.fromstring(svg)
    assert diagram._repr_svg_() == svg
    assert to_tikz(lay_out(diagram)).isascii()


def test_sums_and_equations_show_themselves():
    total = parse("i: 2 x[i] - y[i]")
    assert "<title>i: 2 x[i] - y[i]</title>" in total._repr_svg_()
    assert "<title>i: x[i] = y[i]</title>" in parse_equation("i: x[i] = y[i]")._repr_svg_()


# Lines


def test_corners_never_share_a_piece_of_line():
    short = outlines.wire_line(picture().wires[4])
    assert short.radius == 0.5  # the shortest piece is one point long and has two corners
    assert outlines.wire_line(picture().wires[2]).radius == outlines.WIRE_RADIUS
    for shape in picture().shapes:
        line = outlines.outline(shape)
        if isinstance(line, outlines.Polygon):
            left, top, right, bottom = shape.bounds
            for _, points in outlines.curves(line):
                for x, y in points:
                    assert left - 1e-9 <= x <= right + 1e-9 and top - 1e-9 <= y <= bottom + 1e-9


@pytest.mark.parametrize("facing", ["left", "right", "up", "down"])
def test_boxes_narrow_and_triangles_point_where_they_face(facing):
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[facing]
    for kind, corners in (("box", 2), ("triangle", 1)):
        line = outlines.outline(Shape(kind, 0.0, 0.0, 40.0, 40.0, "A", facing=facing))
        assert isinstance(line, outlines.Polygon)
        along = [x * step[0] + y * step[1] for x, y in line.points]
        across = [abs(x * step[1]) + abs(y * step[0]) for x, y in line.points]
        front = [a for a, place in zip(across, along, strict=True) if place == max(along)]
        back = [a for a, place in zip(across, along, strict=True) if place == min(along)]
        assert len(front) == corners and max(front) < min(back)


# TikZ

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")


def compiled(tmp_path: Path, name: str, document: str) -> str:
    (tmp_path / f"{name}.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    log = (tmp_path / f"{name}.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-3000:]
    return log


@needs_latex
def test_tikz_compiles_without_a_complaint_whatever_the_labels_are(tmp_path):
    """In one document, since starting LaTeX takes longer than all pictures."""
    pictures = [to_tikz(scene) for scene in (EMPTY, picture(), *map(picture, HOSTILE.values()))]
    body = "\n".join(f"\\setbox0=\\hbox{{{one}}}\\copy0\\newpage" for one in pictures)
    # Pages are large enough for the picture, so that an overfull box is one of ours.
    head = (
        r"\documentclass{article}\usepackage{tikz}\pagestyle{empty}\tracinglostchars=3"
        r"\textwidth=600bp\parindent=0pt\begin{document}"
    )
    log = compiled(tmp_path, "all", f"{head}\n{body}\n\\end{{document}}")
    for complaint in ("Warning", "Overfull", "Missing character", "Error", "undefined"):
        assert complaint not in log.replace("Overfull \\vbox", ""), log[-3000:]


@needs_latex
def test_a_standalone_document_has_the_size_of_the_picture(tmp_path):
    compiled(tmp_path, "one", to_tikz(picture(), standalone=True))
    if shutil.which("pdfinfo"):
        said = subprocess.run(["pdfinfo", tmp_path / "one.pdf"], capture_output=True, text=True)
        assert re.search(r"Pages: +1\n", said.stdout)
        assert re.search(r"Page size: +(560|559\.\d+) x (120|119\.\d+)", said.stdout)


@pytest.mark.parametrize("label", HOSTILE.values(), ids=HOSTILE)
def test_tikz_is_ascii_and_its_labels_hold_no_command_of_theirs(label):
    said = to_tikz(picture(label))
    assert said.isascii()
    assert said.count(r"\end{") == 1
    for command in (r"\input", r"\write", r"\end{tikzpicture} "):
        assert command not in said
    known = set(re.findall(r"\\[A-Za-z]+", said))
    ours = {
        command
        for value in tikz._COMMANDS.values()
        for command in re.findall(r"\\[A-Za-z]+", value)
    }
    ours |= {f"\\{accent}" for accent in tikz._ACCENTS.values()}
    ours |= set(re.findall(r"\\[A-Za-z]+", to_tikz(picture()))) | {
        r"\langle",
        r"\rangle",
        r"\mathrm",
    }
    assert known <= ours


# PNG and PDF


@pytest.mark.parametrize("label", [None, *HOSTILE.values()], ids=["none", *HOSTILE])
def test_png_is_drawn_whatever_the_labels_are(label, caplog):
    image = to_png(picture(label), dpi=72.0)
    assert image.startswith(b"\x89PNG")
    width, height = (int.from_bytes(image[at : at + 4]) for at in (16, 20))
    assert (width, height) == (560, 120)
    assert not caplog.records, "matplotlib logs letters that it lacks"


def test_pdf_holds_its_fonts_as_truetype_and_is_the_same_each_time():
    written = to_pdf(picture())
    assert written.startswith(b"%PDF") and written == to_pdf(picture())
    assert b"/FontFile2" in written and b"/Type3" not in written
    assert to_pdf(EMPTY).startswith(b"%PDF") and to_png(EMPTY).startswith(b"\x89PNG")


def test_matplotlib_is_left_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    to_pdf(picture())
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for write in (to_png, to_pdf):
        with pytest.raises(MissingExtraError, match=r"pip install 'unmask\[draw\]'"):
            write(picture())
    assert to_svg(picture()) and to_tikz(picture())
