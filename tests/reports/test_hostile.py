"""Model text is hostile: it can neither run, nor load, nor reorder or break the page."""

from dataclasses import replace

import pytest
from fixtures import pool_rows
from hostile_texts import HOSTILE, hostile_audit
from page_checks import Page, assert_safe

from unmask.reports import render_audit, render_fragment, render_pool, visible


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text):
    audit = hostile_audit(text)
    honest = Page(render_audit(hostile_audit("plain")))
    page = assert_safe(render_audit(audit))
    # The text is there to be read, and made no element of its own.
    assert visible(text) in page.text
    assert page.elements == honest.elements
    assert_safe(render_fragment(audit))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pool_stays_a_pool(text):
    rows = [
        replace(row, member=text, role=text, secret=text, explanation=text, report=text)
        for row in pool_rows()
    ]
    page = assert_safe(render_pool(rows, text))
    assert visible(text) in page.text


@pytest.mark.parametrize(
    "report", ["javascript:alert(1)", "//evil.example/x", "https://evil.example", "\\\\evil\\x"]
)
def test_a_link_leads_to_a_file_beside_the_page(report):
    html = render_pool([replace(pool_rows()[0], report=report)], "pool")
    (link,) = [value for name, value in Page(html).attributes if name == "href"]
    assert ":" not in link and not link.startswith("//")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext é 漢 🙂", "plain\n\ttext é 漢 🙂"),
        ("\u202e", "⟨U+202E⟩"),
        ("a\x00b", "a⟨U+0000⟩b"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\r\nb\rc", "a\nb⟨U+000D⟩c"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"),
        ("⟨psi⟩", "⟨psi⟩"),
    ],
)
def test_hidden_characters_are_spelt_out_and_labels_cannot_be_forged(text, shown):
    assert visible(text) == shown
