"""From a result to HTML. Every value is escaped, every hidden character spelt out."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup

from unmask.reports import formatting, latent, scales, views
from unmask.reports.views import PoolRow
from unmask.reports.visible import visible
from unmask.runs.plateaus import PlateauResult
from unmask.runs.reading import counts
from unmask.runs.result import FOUND, Audit
from unmask.runs.search import SearchResult


def render_audit(audit: Audit) -> str:
    """Render the report of an audit: one HTML file that loads nothing and runs nothing."""
    return _render("audit.html.j2", audit=audit, view=views.view_audit(audit))


def render_fragment(audit: Audit) -> str:
    """Render what a notebook shows: verdict, baseline and arms, with styles of its own."""
    return _render("fragment.html.j2", audit=audit, view=views.view_audit(audit))


def render_pool(rows: Sequence[PoolRow], title: str) -> str:
    """Render the page of a whole pool: one row per member, each linked to its own report."""
    return _render(
        "pool.html.j2",
        rows=rows,
        title=title,
        arms=views.arm_names(rows),
        counts=views.count_pool(rows),
    )


def render_search(result: SearchResult) -> str:
    """Render what a search for steering vectors found."""
    return _render("search.html.j2", result=result, view=latent.view_search(result))


def render_plateau(result: PlateauResult) -> str:
    """Render response curves."""
    return _render("plateau.html.j2", result=result, view=latent.view_plateau(result))


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("unmask.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spelt_out,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        plain=formatting.plain,
        signed=formatting.signed,
        tick=formatting.tick,
        p=formatting.p_value,
        share=formatting.share,
        duration=formatting.duration,
        setting=formatting.setting_text,
        json=formatting.json_text,
        link=_link,
        facts=views.facts,
        named=lambda name, names: names.get(name, name),
    )
    environment.globals.update(
        score_axis=scales.SCORE_AXIS,
        steps=scales.STEPS,
        known=formatting.known,
        threshold=views.threshold,
        in_verdict=counts,
        FOUND=FOUND,
    )
    return environment


def _spelt_out(value: Any) -> Any:
    """Prepare a value for the page; the environment escapes it afterwards."""
    if isinstance(value, Markup | Undefined):
        return value
    return formatting.UNKNOWN if value is None else visible(str(value))


def _link(path: str) -> str:
    """A relative link to a file: no scheme and no other host can come out of it."""
    quoted = quote(path.replace("\\", "/").encode("utf-8", "replace"), safe="/.-_~")
    return f".{quoted}" if quoted.startswith("//") else quoted
