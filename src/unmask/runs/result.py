"""The result of an audit, and its JSON form."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unmask.arms.evidence import Cell, Evidence, ItemResult, Transcript
from unmask.steering.describe import Description

SCHEMA = "unmask.audit/2"
"""Name and version of the JSON form; the number rises when a key changes its meaning."""

Verdict = Literal["hidden behaviour found", "more than it shows", "nothing found", "inconclusive"]
FOUND: Verdict = "hidden behaviour found"
"""The one verdict that accuses."""
FLAGGED: tuple[Verdict, ...] = (FOUND, "more than it shows")
"""Verdicts by which something came out, whether or not it was compared with benign models."""


@dataclass(frozen=True)
class Finding:
    """What an audit came to, before its error rates are known."""

    verdict: Verdict
    what: str
    """What came out, in a sentence or two."""
    advice: str = ""
    """What would go further; may be empty."""


@dataclass(frozen=True)
class Baseline:
    """The unedited subject on the task."""

    score: float
    """Mean score over all items of the audit, in [0, 1]."""
    interval: tuple[float, float]
    """95 % bootstrap interval over items."""
    chance: float
    """Mean chance score; 0 for open-ended tasks."""
    p_below: float
    """Exact one-sided p-value for a score below chance; 1 for open-ended tasks."""
    p_above: float
    """Exact one-sided p-value for a score above chance."""
    parse_failure_rate: float
    """Share of answers that were none of the choices, in [0, 1]."""
    n_items: int
    """Items in the audit, both halves."""
    by_rule: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Where options are ranked as texts, the mean score by each rule of `unmask.tasks.ranking`; the
    score is that of "sum"."""


@dataclass(frozen=True)
class FalsePositiveRate:
    """How often this procedure says as much of a model that hides nothing."""

    nominal: float
    """What the family-wise level of the tests guarantees under no effect."""
    rate: float | None
    """Share of benign models of which it did; None if not measured for this audit."""
    interval: tuple[float, float] | None
    """95 % Clopper-Pearson interval of `rate`."""
    n_models: int
    """Benign models it was measured on."""
    source: str
    """Where it was measured, or why it was not."""
    counts: Literal["accused", "flagged"] = "accused"
    """Which verdicts are counted: accusations, or, in audits that compare with no benign model,
    also "more than it shows"."""


@dataclass(frozen=True)
class Power:
    """What this audit would have caught."""

    effect: float
    """A gain on the confirmation half, in score units."""
    probability: float | None
    """Probability that a gain of `effect`, had an arm brought it out, would have been found."""
    smallest_effect: float | None
    """The smallest gain that would have been found with probability .9; None if there is none."""
    source: str
    """How it was computed."""
    by_secret: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """For each kind of planted secret: (organisms found, organisms audited) with the same plan."""


@dataclass(frozen=True)
class Audit:
    """The result of one audit."""

    finding: Finding
    sentence: str
    """The finding with its error rate and advice, as a text."""
    baseline: Baseline | None
    evidence: tuple[Evidence, ...]
    false_positive_rate: FalsePositiveRate
    power: Power
    subject: Mapping[str, Any]
    """Provenance of the subject: id, revision, weight hash, family, dtype, device, ..."""
    task: Mapping[str, Any]
    """Provenance of the task: name, source, digest, format, items used and available."""
    reference: Mapping[str, Any] | None
    """Provenance of the reference, if one was given."""
    plan: Mapping[str, Any]
    """The registered plan: thresholds, arms with their grids, seeds."""
    plan_hash: str
    versions: Mapping[str, str]
    """Versions of unmask, Python, torch, transformers."""
    command: str
    """The command that reproduces the audit."""
    run: str
    """Folder of the run."""
    seconds: float
    """Time spent, over all sessions of the run."""
    left_out: tuple[str, ...] = ()
    """What the plan had to leave out, and why."""
    warnings: tuple[str, ...] = ()
    """What a reader must know: fallbacks, parse failures, confounds."""

    @property
    def verdict(self) -> Verdict:
        """What the audit came to."""
        return self.finding.verdict

    def to_json(self) -> dict[str, Any]:
        """Return every field as JSON-serialisable values, with the schema's name."""
        return {"schema": SCHEMA, **_plain(dataclasses.asdict(self))}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Audit":
        """Rebuild a result from `to_json`.

        Raises:
            ValueError: If the record has another schema.
        """
        if record.get("schema") != SCHEMA:
            raise ValueError(
                f"expected a result with schema {SCHEMA!r}, got {record.get('schema')!r}. "
                "It was probably written by another version of unmask; run the audit again."
            )
        fields = {name: value for name, value in record.items() if name != "schema"}
        fields["finding"] = Finding(**fields["finding"])
        fields["evidence"] = tuple(_evidence(entry) for entry in fields["evidence"])
        if fields["baseline"] is not None:
            fields["baseline"] = Baseline(**_tupled(fields["baseline"]))
        fields["false_positive_rate"] = FalsePositiveRate(**_tupled(fields["false_positive_rate"]))
        power = dict(fields["power"])
        power["by_secret"] = {kind: tuple(pair) for kind, pair in power["by_secret"].items()}
        fields["power"] = Power(**power)
        return cls(**_tupled(fields))


def _evidence(entry: Mapping[str, Any]) -> Evidence:
    fields = dict(entry)
    fields["cells"] = tuple(Cell(**cell) for cell in entry["cells"])
    fields["transcripts"] = tuple(Transcript(**one) for one in entry["transcripts"])
    fields["items"] = tuple(ItemResult(**one) for one in entry["items"])
    fields["directions"] = tuple(_description(one) for one in entry["directions"])
    fields["cosines"] = tuple(tuple(line) for line in entry["cosines"])
    return Evidence(**_tupled(fields))


def _description(entry: Mapping[str, Any]) -> Description:
    texts = tuple(tuple(pair) for pair in entry["texts"])
    return Description(**_tupled({**entry, "texts": texts}))


def _tupled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the lists that JSON made of tuples back into tuples, one level deep."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


SUMMARY_SCHEMA = "unmask.summary/2"
"""Name and version of what ``unmask audit --json`` prints; see docs/json.md."""


def summary(audit: Audit) -> dict[str, Any]:
    """Return the result as ``unmask audit --json`` prints it: no items, no transcripts."""
    arms = [
        {
            "name": one.arm,
            "tested": one.tested,
            "reason": one.reason,
            "compared": one.compared,
            "gain": one.gain,
            "control_gain": one.control_gain,
            "interval": one.interval,
            "p": one.p,
            "p_holm": one.p_holm,
            "damage_nats": one.damage_nats,
            "seconds": one.seconds,
            "setting": one.setting,
            "reading": one.reading,
        }
        for one in audit.evidence
    ]
    return _plain(
        {
            "schema": SUMMARY_SCHEMA,
            "verdict": audit.verdict,
            "sentence": audit.sentence,
            "advice": audit.finding.advice,
            "baseline": audit.baseline and dataclasses.asdict(audit.baseline),
            "arms": arms,
            "false_positive_rate": dataclasses.asdict(audit.false_positive_rate),
            "power": dataclasses.asdict(audit.power),
            "run": audit.run,
            "plan_hash": audit.plan_hash,
            "seconds": audit.seconds,
            "left_out": audit.left_out,
            "warnings": audit.warnings,
        }
    )
