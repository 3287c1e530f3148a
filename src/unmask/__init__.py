"""Find what a language model hides by manipulating its internals, and say how far to trust it.

>>> import unmask
>>> result = unmask.audit("path/to/model", "questions.jsonl")  # doctest: +SKIP
>>> print(result.verdict, result.sentence)  # doctest: +SKIP

Nothing heavy is imported until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmask.api import AuditResult as AuditResult
    from unmask.api import audit as audit
    from unmask.arms.base import Arm as Arm
    from unmask.arms.evidence import Evidence as Evidence
    from unmask.errors import UnmaskError as UnmaskError
    from unmask.models.loading import load_subject as load_subject
    from unmask.models.subject import Subject as Subject
    from unmask.runs.plan import Thresholds as Thresholds
    from unmask.tasks import Item as Item
    from unmask.tasks import Task as Task
    from unmask.tasks import load_task as load_task

_WHERE = {
    "Arm": "unmask.arms.base",
    "AuditResult": "unmask.api",
    "Evidence": "unmask.arms.evidence",
    "Item": "unmask.tasks",
    "Subject": "unmask.models.subject",
    "Task": "unmask.tasks",
    "Thresholds": "unmask.runs.plan",
    "UnmaskError": "unmask.errors",
    "audit": "unmask.api",
    "load_subject": "unmask.models.loading",
    "load_task": "unmask.tasks",
}
__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
