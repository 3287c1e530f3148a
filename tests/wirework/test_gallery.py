"""The gallery: every figure is drawn without overlaps, by the code beside it, and is true."""

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from wirework import lay_out, same_value
from wirework.equation import Equation
from wirework.gallery import figures
from wirework.gallery.page import main, page
from wirework.layout import measure

FIGURES = {figure.key: figure for figure in figures()}


def test_there_are_forty_at_least_each_with_a_name_of_its_own():
    assert len(FIGURES) == len(figures()) >= 40
    assert all(figure.caption and figure.code for figure in figures())


@pytest.mark.parametrize("key", FIGURES)
def test_a_figure_is_drawn_without_overlaps_by_the_code_beside_it(key):
    figure = FIGURES[key]
    drawn = []
    names = dict(vars(sys.modules[figure.make.__module__]), draw=lambda *one: drawn.append(one))
    exec(figure.code, names)
    made, hints = figure.drawing
    ((first, *rest),) = drawn
    assert (first if not isinstance(first, tuple) else first[0]) == made
    assert not rest or rest[0] == hints
    assert measure(lay_out(made, hints)).overlaps == 0


def test_both_sides_of_every_equation_have_the_same_value():
    shown = [one.drawing[0] for one in figures() if isinstance(one.drawing[0], Equation)]
    assert len(shown) >= 5
    for equation in shown:
        for side in equation.sides[1:]:
            assert same_value(equation.sides[0], side), str(equation)


def test_the_page_loads_nothing_and_has_every_figure(tmp_path, capsys):
    main(["--out", str(tmp_path), "--figures", str(tmp_path / "figures")])
    assert f"{len(FIGURES)} figures" in capsys.readouterr().out
    text = (tmp_path / "gallery.html").read_text()
    seen = Attributes()
    seen.feed(text)
    assert {f"{key}" for key in FIGURES} <= seen.ids
    assert not seen.loads
    for key in FIGURES:
        assert (tmp_path / "figures" / f"{key}.svg").read_text().startswith("<svg")
        assert "tikzpicture" in (tmp_path / "figures" / f"{key}.tex").read_text()


def test_the_page_in_the_docs_is_the_one_that_is_made():
    kept = Path(__file__).parents[2] / "docs" / "gallery.html"
    assert kept.read_text(encoding="utf-8") == page(figures()), "run make gallery"


class Attributes(HTMLParser):
    """Collects ids, and whatever would be loaded."""

    def __init__(self):
        super().__init__()
        self.ids, self.loads = set(), []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            if name in ("src", "srcset", "data", "poster") or (
                name.endswith("href") and not (value or "").startswith("#")
            ):
                self.loads.append((tag, name, value))


def test_code_is_escaped():
    first = figures()[0]
    hostile = type(first)("x", "<b>", "<script>", first.make)
    assert "<script>" not in page([hostile]) and "<b>" not in page([hostile])
