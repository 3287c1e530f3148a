"""Reports: an audit, or a pool of them, as HTML that a non-author can check.

A report is one file without scripts that loads nothing from anywhere. Text written by a model or
taken from a task is hostile: it is escaped, and characters that hide or reorder text are spelt out.
"""

from unmask.reports.files import write_text_atomically
from unmask.reports.pages import (
    render_audit,
    render_fragment,
    render_plateau,
    render_pool,
    render_search,
)
from unmask.reports.views import PoolRow
from unmask.reports.visible import visible

__all__ = [
    "PoolRow",
    "render_audit",
    "render_fragment",
    "render_plateau",
    "render_pool",
    "render_search",
    "visible",
    "write_text_atomically",
]
