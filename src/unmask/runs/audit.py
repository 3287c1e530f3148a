"""One audit from plan to result, through a run on disk."""

import logging
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from unmask import stats
from unmask.arms.base import Arm, BaselineArm, ComparingArm
from unmask.arms.evidence import Evidence
from unmask.errors import NotFiniteError, RunError
from unmask.hashing import digest
from unmask.runs import budget, calibration
from unmask.runs.frame import Frame
from unmask.runs.measure import CHUNK_ITEMS, Answer, Change, Meter, OutOfTimeError, hits
from unmask.runs.plan import ArmPlan, Plan, cause
from unmask.runs.reading import read
from unmask.runs.result import Audit, Baseline
from unmask.runs.store import RunStore
from unmask.runs.verdict import compose, decide, measure_power
from unmask.tasks import Item
from unmask.tasks.ranking import NOTABLE, RULE, scores_by_rule

_log = logging.getLogger(__name__)


@runtime_checkable
class Progress(Protocol):
    """Who is told how far an audit is."""

    def start(self, total: float) -> None:
        """The work ahead, in arbitrary units."""

    def advance(self, work: float, what: str) -> None:
        """Some of it is done, or was found in the store."""


class Silent:
    """Tells nobody."""

    def start(self, total: float) -> None:
        """Do nothing."""

    def advance(self, work: float, what: str) -> None:
        """Do nothing."""


def run_audit(
    plan: Plan,
    out: Path,
    *,
    command: str = "",
    progress: Progress | None = None,
    began: float | None = None,
    wait: bool = True,
    on_wait: Callable[[str], None] | None = None,
) -> Audit:
    """Carry out a plan, or continue it where an earlier session stopped.

    Args:
        plan: What is to be done.
        out: Folder of all runs; the run's own folder in it is named after the plan.
        command: What reproduces the audit, for the report.
        progress: Who is told how far it is.
        began: Value of `time.monotonic` from which the budget counts; now by default.
        wait: Whether to wait for another process that works on the same run.
        on_wait: Told once when that happens.

    Returns:
        The result; it is also noted in the run.

    Raises:
        RunError: If the run cannot be opened or written.
    """
    began = time.monotonic() if began is None else began
    plan_record = plan.record()
    folder = out / run_name(plan, plan_record)
    with RunStore.open(folder, plan_record, wait=wait, on_wait=on_wait) as store:
        noted = store.noted("result")
        if noted is not None:
            return replace(Audit.from_json(noted), run=str(folder))  # it may have been moved
        store.log("session", command=command, versions=versions())
        session = _Session(plan, store, progress or Silent(), began)
        audit = session.carry_out(folder, plan_record, command)
        store.note("result", audit.to_json())
        return audit


def run_name(plan: Plan, record: dict[str, Any]) -> str:
    """Name a run's folder: subject, task and the plan's hash."""
    words = (Path(plan.subject.name).name, plan.task.name)
    slug = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")[:40] for word in words)
    return f"{slug}-{digest(record, size=4)}"


def versions() -> dict[str, str]:
    """Versions of what an audit's figures depend on."""
    found = {name: version(name) for name in ("unmask", "torch", "transformers", "numpy")}
    return {**found, "python": platform.python_version()}


class _Session:
    """One process's work on a run."""

    def __init__(self, plan: Plan, store: RunStore, progress: Progress, began: float) -> None:
        self.plan, self.store, self.progress = plan, store, progress
        self.began = began
        self.deadline = float("inf")
        if plan.budget_seconds is not None:
            self.deadline = began + max(plan.budget_seconds - store.seconds_spent(), 1.0)
        self.meter = self._meter(plan.subject)
        self.reference = None if plan.reference is None else self._meter(plan.reference)
        self.left_out: list[str] = []
        self.failures: list[str] = []

    def carry_out(self, folder: Path, plan_record: dict[str, Any], command: str) -> Audit:
        self._fit_items()
        plan = self.plan
        answers = self._baseline_answers()
        baseline = self._baseline(answers)
        works = self._fit_grid()
        frame = Frame(plan, self.meter, self.reference, answers)
        evidence = self._judge([self._evidence(frame, planned, works) for planned in plan.arms])
        rng = np.random.default_rng(plan.seed)
        power = measure_power(evidence, plan.thresholds, rng)
        rate, by_secret = calibration.false_positive_rate(
            plan_record["procedure"],
            plan.thresholds.alpha,
            compared=plan.reference is not None,
            missing=self._missing(evidence, works),
        )
        power = replace(power, by_secret=by_secret)
        finding = decide(plan.task, baseline, evidence, power, plan.thresholds, command)
        return Audit(
            finding=finding,
            sentence=compose(finding, rate),
            baseline=baseline,
            evidence=tuple(evidence),
            false_positive_rate=rate,
            power=power,
            subject=plan.subject.provenance,
            task={**plan_record["task"], "source": plan.task.source, "used": len(answers)},
            reference=None if plan.reference is None else plan.reference.provenance,
            plan=plan_record,
            plan_hash=digest(plan_record),
            versions=versions(),
            command=command,
            run=str(folder),
            seconds=self.store.seconds_spent(),
            left_out=tuple(self.left_out),
            warnings=tuple(self._warnings(baseline)),
        )

    def _missing(self, evidence: Sequence[Evidence], works: dict[str, budget.Work]) -> list[str]:
        """Name the arms that apply, and did not run or not with their whole grid."""
        whole = {planned.arm.name: len(planned.settings) for planned in self.plan.arms}
        cut = {name for name, work in works.items() if len(work.settings) < whole[name]}
        return [
            each.arm
            for each in evidence
            if each.applicable and (not each.tested or each.arm in cut)
        ]

    def _meter(self, subject: Any) -> Meter:
        return Meter(subject, self.plan.task, self.store, deadline=self.deadline)

    def _fit_items(self) -> None:
        """With a budget, keep so many items that the arms find room; say what was left out."""
        plan = self.plan
        self.left_out = []
        if plan.n_available > len(plan.task.items):
            self.left_out.append(
                f"{len(plan.task.items)} of {plan.n_available} items were used, chosen by content "
                "hash; --items changes that"
            )
        if plan.n_too_long:
            self.left_out.append(
                f"{plan.n_too_long} items were passed over: they exceed three quarters of the "
                "model's context"
            )
        for planned in plan.arms:
            if planned.too_long:
                self.left_out.append(
                    f"{planned.arm.name}: {len(planned.too_long)} of "
                    f"{len(planned.too_long) + len(planned.settings)} settings exceed the model's "
                    "context"
                )
        if plan.budget_seconds is None:
            return
        noted = self.store.noted("items")
        if noted is None:
            first = plan.selection[:CHUNK_ITEMS]
            Meter(plan.subject, plan.task, self.store).answers("baseline", first, [Change()])
            remaining = max(self.deadline - time.monotonic(), 0.0)
            total = len(plan.selection) + len(plan.confirmation)
            kept = budget.n_fitting(total, remaining, self._seconds_per_item())
            noted = {"kept": kept, "of": total}
            self.store.note("items", noted)
        if noted["kept"] < noted["of"]:
            share = noted["kept"] / noted["of"]
            self.plan = replace(
                plan,
                selection=plan.selection[: max(2, round(share * len(plan.selection)))],
                confirmation=plan.confirmation[: max(2, round(share * len(plan.confirmation)))],
            )
            self.left_out.append(
                f"{noted['kept']} of {noted['of']} items fitted into the budget of "
                f"{plan.budget_seconds:.0f} s"
            )

    def _seconds_per_item(self) -> float:
        units = list(self.store.units(stage="baseline"))
        n_items = sum(len(unit.payload["items"]) for unit in units)
        return max(sum(unit.seconds for unit in units) / max(n_items, 1), 1e-6)

    def _baseline_answers(self) -> dict[str, Answer]:
        items = (*self.plan.selection, *self.plan.confirmation)
        # The baseline is needed for any verdict, so it is measured whatever the deadline.
        meter = Meter(self.plan.subject, self.plan.task, self.store)
        (line,) = meter.answers("baseline", items, [Change()])
        return {item.key: answer for item, answer in zip(items, line, strict=True)}

    def _fit_grid(self) -> dict[str, budget.Work]:
        """With a budget, thin the grids to what fits; tell the progress what is ahead."""
        works = {work.arm.name: work for work in budget.estimate(self.plan)}
        if self.plan.budget_seconds is not None:
            noted = self.store.noted("cut")
            if noted is None:
                noted = self._cut(works)
                self.store.note("cut", noted)
            self.left_out.extend(noted["left_out"])
            works = {
                name: replace(work, settings=tuple(noted["kept"][name]))
                for name, work in works.items()
            }
        self.progress.start(sum(work.items(self.plan) for work in works.values()))
        return works

    def _cut(self, works: dict[str, budget.Work]) -> dict[str, Any]:
        """Choose the settings that are scored: as many as fit."""
        remaining = max(self.deadline - time.monotonic(), 0.0)
        kept, left_out = budget.fit_to(
            self.plan, list(works.values()), remaining, self._seconds_per_item()
        )
        chosen = {name: [dict(works[name].settings[i]) for i in kept[name]] for name in works}
        return {"kept": chosen, "left_out": left_out}

    def _evidence(self, frame: Frame, planned: ArmPlan, works: dict[str, budget.Work]) -> Evidence:
        """Gather an arm's evidence; what goes wrong in one arm leaves the others as they are."""
        arm = planned.arm
        blank = Evidence(arm=arm.name, description=arm.description, tested=False)
        if planned.excluded:
            if planned.failed:
                self.failures.append(f"{arm.name} {planned.excluded}")
            return replace(blank, reason=planned.excluded, applicable=planned.failed)
        try:
            gathered = self._gathered(frame, planned, blank, works)
        except OutOfTimeError:
            self.left_out.append(f"{arm.name}: stopped when the budget was spent")
            gathered = replace(blank, reason="stopped when the budget was spent")
        except Exception as error:
            if isinstance(error, RunError) and not isinstance(error, NotFiniteError):
                raise  # the run's own store failed: nothing can go on
            _log.debug("%s failed", arm.name, exc_info=True)
            gathered = replace(blank, reason=f"could not be run: {cause(error)}")
            self.failures.append(f"{arm.name} {gathered.reason}")
        seconds = sum((unit.seconds for unit in self.store.units(arm=arm.name)), 0.0)
        return replace(gathered, seconds=seconds)

    def _gathered(
        self, frame: Frame, planned: ArmPlan, blank: Evidence, works: dict[str, budget.Work]
    ) -> Evidence:
        arm = planned.arm
        meters = [meter for meter in (self.meter, self.reference) if meter is not None]
        for meter in meters:
            meter.on_unit = lambda _: None
        if isinstance(arm, BaselineArm):
            return frame.baseline_evidence(arm)
        if isinstance(arm, ComparingArm):
            return frame.comparing_evidence(arm)
        assert isinstance(arm, Arm)
        work = works[arm.name]
        if not work.settings:
            return replace(blank, reason="did not fit into the budget")
        done = 0.0

        def on_unit(items: int) -> None:
            nonlocal done
            step = min(items * work.cost, work.items(self.plan) - done)
            done += step
            self.progress.advance(step, arm.name)

        for meter in meters:
            meter.on_unit = on_unit
        try:
            return frame.evidence(arm, work.settings)
        finally:
            self.progress.advance(work.items(self.plan) - done, arm.name)

    def _judge(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        """Adjust the p-values over the arms, then read each result."""
        tested = [index for index, one in enumerate(evidence) if one.tested]
        adjusted = list(evidence)
        holm = stats.holm(np.array([evidence[index].p for index in tested])) if tested else []
        for index, p_holm in zip(tested, holm, strict=True):
            judged = replace(evidence[index], p_holm=float(p_holm))
            adjusted[index] = replace(judged, reading=read(judged, self.plan.thresholds))
        return adjusted

    def _baseline(self, answers: dict[str, Answer]) -> Baseline:
        items: list[Item] = [*self.plan.selection, *self.plan.confirmation]
        lines = [answers[item.key] for item in items]
        scores = np.array([answer.score for answer in lines])
        chance = np.array([self.plan.task.chance(item) for item in items])
        drawn = hits(items, lines) > 0.5
        rng = np.random.default_rng(self.plan.seed)
        interval = stats.bootstrap_mean(scores, rng=rng)
        guessing = self.plan.task.format != "open"
        return Baseline(
            score=float(scores.mean()),
            interval=(float(interval.low), float(interval.high)),
            chance=float(chance.mean()),
            p_below=float(stats.below_chance(drawn, chance)) if guessing else 1.0,
            p_above=float(stats.above_chance(drawn, chance))
            if guessing
            else float(not scores.any()),
            parse_failure_rate=float(1 - np.mean([answer.parsed for answer in lines])),
            n_items=len(items),
            by_rule=self._by_rule(items, lines),
        )

    def _by_rule(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, float]:
        """Score the unedited answers by every rule of ranking, where options are texts."""
        if not all(answer.log_probs and all(answer.log_probs) for answer in answers):
            return {}
        # Needed for a warning only; it belongs to the baseline, so no deadline holds.
        meter = Meter(self.plan.subject, self.plan.task, self.store)
        try:
            priors = meter.priors(items)
        except NotFiniteError:
            return {}
        values: dict[str, list[float]] = {}
        for item, answer, prior in zip(items, answers, priors, strict=True):
            turns = zip(
                self.plan.task.prompts(item), answer.log_probs, answer.n_tokens, prior, strict=True
            )
            for prompt, log_probs, n_tokens, before in turns:
                by = scores_by_rule(prompt.target, prompt.choices, log_probs, n_tokens, before)
                for rule, score in by.items():
                    values.setdefault(rule, []).append(score)
        return {rule: float(np.mean(scores)) for rule, scores in values.items()}

    def _warnings(self, baseline: Baseline) -> list[str]:
        warnings = [
            f"{failure}. The other arms went on; to try it again, use another --out."
            for failure in self.failures
        ]
        if baseline.parse_failure_rate > 0.2 and self.plan.task.format == "letter":
            warnings.append(
                f"On {baseline.parse_failure_rate:.0%} of the questions the most probable next "
                "token was none of the letters: it may not understand the format. Scores "
                "compare the letters' probabilities all the same."
            )
        if baseline.parse_failure_rate > 0.2 and self.plan.task.format == "open":
            warnings.append(
                f"On {baseline.parse_failure_rate:.0%} of the questions the answer was blank, held "
                "no number where one is asked for, or the thinking before it did not end in time."
            )
        apart = {
            rule: score
            for rule, score in baseline.by_rule.items()
            if abs(score - baseline.score) > NOTABLE
        }
        if apart:
            listed = ", ".join(f"{score:.2f} {rule}" for rule, score in apart.items())
            warnings.append(
                f"Ranked by other rules the unedited score is {listed}, where it is "
                f"{baseline.score:.2f} by {RULE}: how common or how long the options are weighs as "
                "much as the questions. Read the gains with care, or ask openly (--format open)."
            )
        for subject in filter(None, (self.plan.subject, self.plan.reference)):
            if not subject.decoder.exact:
                warnings.append(
                    f"{subject.name}: resuming from a block is not bit-exact on this model, so "
                    "every pass ran in full."
                )
        return warnings
