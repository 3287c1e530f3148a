"""Pages of searches and plateaus: what they show, and that hostile text does nothing."""

import pytest
from hostile_texts import HOSTILE
from latent_fixtures import plateau_result, search_result
from page_checks import Page, assert_safe

from unmask.reports import render_plateau, render_search, visible
from unmask.reports.maps import make_map

PAGES = {
    "search": lambda text: render_search(search_result(text)),
    "plateau": lambda text: render_plateau(plateau_result(text)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", PAGES)
def test_hostile_text_is_shown_and_does_nothing(name, text):
    page = assert_safe(PAGES[name](text))
    assert visible(text) in page.text
    assert page.elements == Page(PAGES[name]("plain")).elements


@pytest.mark.parametrize("name", PAGES)
def test_identifiers_are_unique(name):
    page = assert_safe(PAGES[name]("plain"))
    identifiers = [value for key, value in page.attributes if key == "id"]
    assert identifiers and len(identifiers) == len(set(identifiers))


def test_a_search_shows_its_numbers_texts_and_maps():
    text = Page(render_search(search_result())).text
    for shown in ("Vector 4", "1.90", "0.970", "a story!", "−.25", "directions.safetensors"):
        assert shown in text, shown
    assert text.count("nothing: the text ends at once") == 3  # one empty text for each direction
    assert "expected a length, got a story" in text and "1.250" in text


def test_a_plateau_page_draws_a_curve_for_each_kind_and_read_out():
    page = Page(render_plateau(plateau_result()))
    points = [value for key, value in page.attributes if key == "points"]
    assert len(points) == 9
    first = [tuple(map(float, pair.split(","))) for pair in points[0].split()]
    # (0, 0) at the lower left and (1, 1) at the upper right; a cube is an eighth half-way.
    assert first[0] == (34.0, 188.0) and first[-1] == (314.0, 8.0)
    assert first[10] == (174.0, 188.0 - 180 / 8)
    for shown in ("0.75", "25.0 %", "found by the gradient at zero: 50.0 %", "2.1, 3.4"):
        assert shown in page.text, shown


def test_maps_colour_by_size_and_sign():
    one = make_map([[0.5, -1.0], [0.0, 1.0]], ["a", "b"], [1, 2])
    assert [square.shade for square in one.squares] == [2, -5, 0, 5]
    assert [square.label for square in one.squares] == [".50", "−1.00", ".00", "1.00"]
    assert [name for _, name in one.columns] == ["a", "b"]
    assert make_map([], [], []).squares == ()
