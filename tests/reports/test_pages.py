"""What a report says is what the evidence says, whatever is missing or large."""

import json
import math
import os
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from fixtures import at_chance, found, nothing, pool_rows
from page_checks import Page, assert_safe
from rich.console import Console

from unmask.arms.evidence import Cell, Evidence, ItemResult
from unmask.cli.demo import pool_table
from unmask.errors import RunError
from unmask.reports import render_audit, render_fragment, render_pool, write_text_atomically
from unmask.reports.formatting import p_value, plain, signed
from unmask.reports.scales import gain_axis, make_axis, shade
from unmask.runs.result import Audit

GOLDEN = Path(__file__).parent / "golden"
REGENERATE = "UNMASK_REGENERATE_GOLDEN"
PAGES = {
    "found": lambda: render_audit(found()),
    "nothing": lambda: render_audit(nothing()),
    "at_chance": lambda: render_audit(at_chance()),
    "fragment": lambda: render_fragment(found()),
    "pool": lambda: render_pool(pool_rows(), "The bundled pool"),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_as_they_were(name):
    html, file = PAGES[name](), GOLDEN / f"{name}.html"
    if os.environ.get(REGENERATE):
        file.write_text(html, encoding="utf-8", newline="\n")
    assert html == PAGES[name]()
    assert html == file.read_text(encoding="utf-8"), (
        f"{name} changed; look at it, then run with {REGENERATE}=1"
    )


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_well_formed_and_load_nothing(name):
    html = PAGES[name]()
    page = assert_safe(html)
    if name != "fragment":
        assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
        identifiers = [value for key, value in page.attributes if key == "id"]
        assert len(identifiers) == len(set(identifiers))


def test_every_number_of_the_evidence_is_shown():
    audit = found()
    text = Page(render_audit(audit)).text
    for one in audit.evidence:
        row = text[text.index(one.arm, text.index("arm and how it reads")) :][:600]
        for shown in (p_value(one.p), p_value(one.p_holm)):
            assert shown in row
        if one.gain is not None:
            assert one.interval is not None
            assert {signed(one.gain), plain(one.damage_nats)} <= set(row.split())
            assert f"{signed(one.interval[0])} to {signed(one.interval[1])}" in row
    base = audit.baseline
    assert base is not None
    for shown in (plain(base.score), p_value(base.p_below), "1.5 %", str(base.n_items)):
        assert shown in text
    for word in (audit.sentence, audit.run, audit.plan_hash, audit.command, "0.93", "0.14"):
        assert word in text


def test_a_gain_back_to_chance_is_told_in_words():
    text = Page(render_audit(found())).text
    assert "only back to chance: something was broken, no knowledge came out" in text


def test_a_gain_too_small_to_count_says_so():
    audit = found()
    small = replace(audit.evidence[3], gain=0.06, reading="too small")
    text = Page(render_audit(replace(audit, evidence=(small,)))).text
    assert "significant gain, smaller than what counts" in text


def test_where_no_gain_can_be_simulated_what_was_planted_is_shown():
    audit = nothing()
    counts = {"password-lock, 30 points": (3, 4), "circuit-broken, 30 points": (1, 4)}
    power = replace(audit.power, probability=None, smallest_effect=None, by_secret=counts)
    text = Page(render_audit(replace(audit, power=power))).text
    assert "4 of 8 audits of models with planted secrets found them" in " ".join(text.split())
    assert "simulated:" not in text
    bare = Page(render_audit(replace(audit, power=replace(power, by_secret={})))).text
    assert "unknown" in bare  # control


def test_a_long_caution_does_not_widen_the_table():
    html = render_audit(found())
    changed = replace(found(), evidence=(replace(found().evidence[1], caution="Take care. " * 9),))
    assert 'class="scores"><bdi>Take care' not in render_audit(changed)
    assert 'class="caution"><bdi>Take care' in render_audit(changed)
    assert "Take care" not in html  # control


def test_arms_that_were_not_run_say_why_and_notes_are_visible():
    text = Page(render_audit(nothing())).text
    assert "not run: the task continues passages" in text
    for note in (*at_chance().left_out, *at_chance().warnings):
        assert note in Page(render_audit(at_chance())).text


def test_the_reference_column_appears_only_with_a_reference():
    audit = found()
    assert "reference’s gain" not in render_audit(audit)
    compared = tuple(replace(one, reference_gain=0.0123) for one in audit.evidence)
    page = Page(render_audit(replace(audit, evidence=compared, reference={"id": "base"})))
    assert "reference’s gain" in page.text and "+0.012" in page.text


def _bare(**changes: object) -> Audit:
    audit = found()
    emptied = {
        "baseline": None,
        "evidence": (),
        "subject": {},
        "task": {},
        "plan": {},
        "versions": {},
        "command": "",
        "power": replace(audit.power, probability=None, smallest_effect=None, by_secret={}),
        "false_positive_rate": replace(audit.false_positive_rate, rate=None, interval=None),
    }
    return replace(audit, **{**emptied, **changes})


@pytest.mark.parametrize(
    "evidence",
    [
        (),
        tuple(Evidence(f"arm {n}", "", False, "did not fit") for n in range(8)),
        (Evidence("untold", "", True),),
        (Evidence("nan", "", True, gain=math.nan, interval=(math.nan, math.inf), p=math.nan),),
    ],
    ids=["none", "skipped", "all None", "not finite"],
)
def test_a_report_with_little_in_it_is_still_a_report(evidence):
    for render in (render_audit, render_fragment):
        page = assert_safe(render(_bare(evidence=evidence)))
        assert "Hidden behaviour found" in page.text
        assert not any(re.search(r"\bnan|inf\b|None", value) for name, value in page.attributes
                       if name not in {"aria-label"})  # fmt: skip
    assert_safe(render_pool([], "empty"))


def test_big_grids_and_many_items_fit():
    grid = tuple(
        Cell({"layer": layer, "scale": scale / 10, "kind": kind}, layer / 80, 0.1, True)
        for kind in ("iso", "cov")
        for layer in range(48)
        for scale in range(12)
    )
    items = tuple(ItemResult(str(n), f"question {n}", 0.0, n / 500) for n in range(500))
    one = Evidence("big", "", True, gain=0.2, setting=dict(grid[3].setting), cells=grid)
    page = assert_safe(render_audit(_bare(evidence=(replace(one, items=items),))))
    assert page.elements.count("figure") == 2 and "kind cov" in page.text
    assert page.elements.count("title") == 1 + len(grid)
    # Sorted by change.
    assert page.text.index("question 499") < page.text.index("question 7\n".strip())


def test_over_budget_is_hatched_and_the_selected_cell_outlined():
    cells = (
        Cell({"layer": 1, "sigma": 0.5}, 0.2, 0.1, True),
        Cell({"layer": 1, "sigma": 1.0}, 0.4, 2.0, False),
    )
    one = Evidence("noise", "", True, setting={"layer": 1, "sigma": 0.5}, cells=cells)
    html = render_audit(_bare(evidence=(one,)))
    assert html.count('class="hatch"') == 1 and html.count('class="selected"') == 1
    assert "damage 2.000 nats per token; over the damage budget" in html
    assert "damage 0.100 nats per token; selected" in html


def test_the_plan_is_shown_as_json():
    text = Page(render_audit(found())).text
    start = text.index('{\n  "thresholds"')
    plan, _ = json.JSONDecoder().raw_decode(text[start:])
    assert plan == json.loads(json.dumps(dict(found().plan)))


def test_axes_hold_every_value_and_zero():
    for values in ([], [0.43, -0.07], [-0.9, 0.01], [1.0, -1.0], [0.02]):
        axis = gain_axis(values)
        assert axis.low <= min([0, *values]) and axis.high >= max([0, *values])
        assert 2 <= len(axis.ticks) <= 6 and any(tick.value == 0 for tick in axis.ticks)
    assert make_axis(0.0, 1.0, 0.5).at(0.5) == "50.00%"
    assert [shade(value, 0.5) for value in (-2.0, -0.5, 0.0, 0.5)] == [-5, -5, 0, 5]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_the_contrast_of_wcag_aa_in_light_and_dark():
    blocks = re.findall(r"--paper: #\w{6};.*?--hatch", render_audit(found()), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w+)", block))
        colours = {n: "#ffffff" if c == "#fff" else c for n, c in colours.items()}
        for text in ("ink", "soft", "found", "clear", "open", "accent"):
            for ground in ("paper", "raised"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for sign in "pn":
            for step in range(sign == "n", 6):
                on = colours["low" if step <= 3 else "high"]
                assert _contrast(on, colours[f"{sign}{step}"]) >= 4.5, (sign, step)


def test_writing_replaces_a_file_whole_or_not_at_all(tmp_path):
    file = tmp_path / "deep" / "er" / "report.html"
    write_text_atomically(file, "one")
    write_text_atomically(file, "two é")
    assert file.read_text(encoding="utf-8") == "two é"
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(file, "\ud800")
    assert file.read_text(encoding="utf-8") == "two é"
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]


def test_writing_where_one_cannot_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*--out"):
        write_text_atomically(tmp_path / "file" / "report.html", "text")


def test_the_table_of_a_pool_is_printed_whole_and_without_idle_arms():
    rows = pool_rows()
    idle = replace(next(iter(rows[0].arms.values())), arm="idle", tested=False)
    rows = [replace(row, arms={**row.arms, "idle": idle}) for row in rows]
    table = pool_table(rows)
    console = Console(
        width=Console(width=1000).measure(table).maximum, record=True, file=StringIO()
    )
    console.print(table)
    text = console.export_text()
    assert "…" not in text and "idle" not in text
    assert all(row.member in text for row in rows)
    tested = next(iter(rows[0].arms))
    assert tested.split("_")[0] in text  # control
