"""What the templates show of an audit, beside its own fields."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from unmask.arms.evidence import Evidence, ItemResult
from unmask.reports.formatting import Number, known, value_text
from unmask.reports.grid import GridView, view_grid
from unmask.reports.maps import Maps, view_directions
from unmask.reports.scales import Axis, bound, gain_axis
from unmask.runs.reading import counts
from unmask.runs.result import FOUND, Audit

_WORDS = {
    "no gain": "no significant gain",
    "too small": "significant gain, smaller than what counts",
    "back to chance": "only back to chance: something was broken, no knowledge came out",
    "more than it shows": "gain that counts, compared with no benign model",
    "hidden": "gain that counts, beyond that of benign models",
}
_WORDS_UNEDITED = {
    "no gain": "unedited score not significantly below chance",
    "too small": "unedited score below chance, and hardly below the reference’s",
    "more than it shows": (
        "unedited score significantly below chance, compared with no benign model"
    ),
    "hidden": "unedited score significantly below chance, and below the reference’s",
}
"""Of arms that have no gain: they test the unedited score."""
_TONES = {"hidden": "found", "more than it shows": "open", "back to chance": "broken"}


class ArmView(NamedTuple):
    """One arm as the report shows it."""

    evidence: Evidence
    words: str
    """The reading in words; for an arm that was not run, why."""
    tone: str
    """`found`, `open`, `broken` or `plain`: sets the mark before the words, never the words."""
    grid: GridView
    items: tuple[ItemResult, ...]
    """Items of the confirmation half, largest change first."""
    maps: Maps
    """Of an arm that steers, how alike its directions are, and where they act."""


class AuditView(NamedTuple):
    """An audit with what is derived from it for showing."""

    arms: tuple[ArmView, ...]
    axis: Axis
    """Of gains, shared by all arms."""
    strongest: float
    """The gain with the strongest colour in every heat map."""
    featured: str
    """Name of the arm whose transcripts are unfolded."""
    has_reference: bool
    has_heat: bool
    """Whether any grid is drawn as a heat map."""


@dataclass(frozen=True)
class PoolRow:
    """One member of a pool and how its audit ended."""

    member: str
    role: str
    """organism, twin or decoy."""
    secret: str
    """The kind of what it hides; empty for benign members."""
    expected: str
    """What an ideal audit says."""
    verdict: str
    right: bool
    explanation: str
    """Why a verdict is not the expected one; may be empty."""
    arms: Mapping[str, Evidence]
    """Evidence by name of the arm."""
    report: str
    """The member's own report, relative to the pool's page."""


class PoolCounts(NamedTuple):
    """How a pool's audits ended."""

    found: int
    organisms: int
    accused: int
    benign: int


def count_pool(rows: Sequence[PoolRow]) -> PoolCounts:
    """Count the organisms that were found and the benign models that were accused."""
    organisms = [row.verdict == FOUND for row in rows if row.role == "organism"]
    benign = [row.verdict == FOUND for row in rows if row.role != "organism"]
    return PoolCounts(sum(organisms), len(organisms), sum(benign), len(benign))


def view_audit(audit: Audit) -> AuditView:
    """Derive what the templates need."""
    evidence = audit.evidence
    strongest = bound(cell.gain for one in evidence for cell in one.cells)
    arms = tuple(_view_arm(one, strongest) for one in evidence)
    return AuditView(
        arms=arms,
        axis=gain_axis(_gains(evidence)),
        strongest=strongest,
        featured=_featured(evidence),
        has_reference=any(one.reference_gain is not None for one in evidence),
        has_heat=any(arm.grid.facets for arm in arms),
    )


def threshold(plan: Mapping[str, Any], name: str) -> Number:
    """A threshold of the plan; None if the plan does not say."""
    value = (plan.get("thresholds") or {}).get(name)
    return value if isinstance(value, int | float) else None


def reading_words(one: Evidence) -> str:
    """How a result reads, in words that need no colour."""
    if not one.tested:
        return "not run"
    if one.edited is None:
        return _WORDS_UNEDITED[one.reading]
    return _WORDS[one.reading]


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The entries of a provenance record as words, without those that are empty."""
    return [
        (str(name).replace("_", " "), value_text(value))
        for name, value in record.items()
        if value not in (None, "")
    ]


def arm_names(rows: Sequence[PoolRow]) -> list[str]:
    """Every arm of a pool's audits, in the order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.arms))


def _view_arm(one: Evidence, strongest: float) -> ArmView:
    tone = _TONES.get(one.reading, "plain") if one.tested else "plain"
    items = sorted(one.items, key=lambda item: item.baseline - item.edited)
    names = range(1, len(one.directions) + 1)
    layer = (one.setting or {}).get("layer", 0)
    first = layer + 1 if isinstance(layer, int) else 1
    return ArmView(
        one,
        reading_words(one),
        tone,
        view_grid(one, strongest),
        tuple(items),
        view_directions(one.directions, one.cosines, names, first),
    )


def _gains(evidence: Iterable[Evidence]) -> list[float]:
    values: list[float] = []
    for one in evidence:
        values.extend(v for v in (one.gain, *(one.interval or ())) if v is not None and known(v))
    return values


def _featured(evidence: Sequence[Evidence]) -> str:
    shown = [one for one in evidence if one.transcripts]
    if not shown:
        return ""
    return max(shown, key=lambda one: (counts(one), one.gain or 0.0)).arm
