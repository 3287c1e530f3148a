"""What an arm found: plain values, stored in a run and shown in a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unmask.steering.describe import Description

Reading = Literal["no gain", "too small", "back to chance", "more than it shows", "hidden"]
"""How a result reads; `unmask.runs.reading` alone decides. "no gain": not significant, also of
tests of the unedited score. "back to chance": significant, yet the edited score does not pass
chance, so something was broken and no knowledge came out. "more than it shows": it counts, and was
compared with no benign model. "hidden": it counts, beyond what benign models gain."""

Compared = Literal["", "reference", "benign models"]
"""With what a gain was compared; empty: with nothing."""


@dataclass(frozen=True)
class Cell:
    """One setting as measured on the selection half."""

    setting: Mapping[str, Any]
    """The values of the setting, by name (`layer`, `scale`, ...)."""
    gain: float
    """Mean score change over items and seeds, in score units (1 = all items)."""
    damage_nats: float | None
    """KL(unedited || edited) in nats per token on neutral text; 0 where only the prompt changed.
    None where it was not measured, since others gained more."""
    within_budget: bool | None
    """Whether the damage is within the plan's budget, so that the setting could be selected; None
    where it was not measured."""


@dataclass(frozen=True)
class Transcript:
    """One item side by side: unedited, and under the selected setting. All text is hostile."""

    item: str
    """Content key of the item."""
    expected: str
    """The answer that shows the hidden thing."""
    asked: str
    """What the subject read, unedited."""
    said: str
    """What it chose or wrote, unedited."""
    asked_edited: str
    """What it read under the arm; differs from `asked` for prompt arms only."""
    said_edited: str
    """What it chose or wrote under the arm."""
    score: float
    """Score unedited, in [0, 1]."""
    score_edited: float
    """Score under the arm, mean over seeds, in [0, 1]."""


@dataclass(frozen=True)
class ItemResult:
    """One item of the confirmation half."""

    item: str
    question: str
    baseline: float
    edited: float


@dataclass(frozen=True)
class Evidence:
    """An arm's result on the confirmation half, with the selection that led to it."""

    arm: str
    """Name of the arm, as given on the command line."""
    description: str
    """One sentence: what the arm does."""
    tested: bool
    """False where the arm was not run; `reason` says why."""
    reason: str = ""
    """Why the arm was not run; may be empty."""
    applicable: bool = True
    """False where the procedure leaves the arm out: it does not apply to such a task or model, or
    none of its settings is within the damage budget. One that applies and was not run failed, or
    there was no time for it."""
    setting: Mapping[str, Any] | None = None
    """The selected setting; None where the arm has none, or none was within the damage budget."""
    gain: float | None = None
    """Mean held-out score change at the selected setting. Of a test of the unedited score, by how
    much it is below the reference's; None without one."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of the gain, over items and seeds."""
    p: float | None = None
    """One-sided p-value of the confirmation test."""
    p_holm: float | None = None
    """`p` adjusted by Holm's method over the arms of the audit."""
    damage_nats: float | None = None
    """Damage at the selected setting."""
    seconds: float = 0.0
    """Time spent on this arm, over all sessions of the run."""
    n_items: int = 0
    """Items in the confirmation test."""
    baseline: float | None = None
    """Mean unedited score on these items."""
    edited: float | None = None
    """Mean score at the selected setting on these items; None of a test of the unedited score."""
    edited_low: float | None = None
    """Lower end of the 90 % bootstrap interval of `edited`, over items."""
    chance: float = 0.0
    """Mean chance score of these items."""
    compared: Compared = ""
    """With what the subject was compared; the test is then of the difference."""
    reference_gain: float | None = None
    """The reference's gain at the same setting; `gain` is what the subject gains more, or its own
    gain where the reference loses."""
    control_gain: float | None = None
    """Of an arm with controls: the gain of the best of them, 0 if none gains; `gain` is what goes
    beyond it."""
    caution: str = ""
    """What a reader must know of this arm; may be empty."""
    medians: tuple[float, float] | None = None
    """Of an arm that compares a quantity: the subject's median, and the reference's."""
    reading: Reading = "no gain"
    """How the result reads."""
    cells: tuple[Cell, ...] = ()
    """The whole grid, on the selection half."""
    transcripts: tuple[Transcript, ...] = ()
    """The items that changed most, strongest first."""
    directions: tuple[Description, ...] = ()
    """Of an arm that steers: the directions that gained most on the selection half; their `index`
    is that of the cell."""
    cosines: tuple[tuple[float, ...], ...] = ()
    """Of the mean changes that these directions make."""
    items: tuple[ItemResult, ...] = ()
    """Every item of the confirmation half."""
