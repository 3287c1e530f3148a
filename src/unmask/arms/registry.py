"""The arms by name: ours, and those that other packages register."""

from collections.abc import Sequence
from importlib.metadata import entry_points

from unmask.arms.activation_noise import ActivationNoise
from unmask.arms.answer_pmi import AnswerPMI
from unmask.arms.anti_refusal import AntiRefusal
from unmask.arms.base import Arm, BaseArm
from unmask.arms.below_chance import BelowChance
from unmask.arms.demonstrations import Demonstrations
from unmask.arms.deployment_suffix import DeploymentSuffix
from unmask.arms.few_shot import FewShot
from unmask.arms.fixed_noise import FixedNoise
from unmask.arms.latent_directions import LatentDirections
from unmask.arms.prefill import Prefill
from unmask.arms.user_persona import UserPersona
from unmask.arms.weight_noise import WeightNoiseArm
from unmask.arms.worst_case import WorstCase
from unmask.errors import SettingError

ALWAYS: tuple[type[BaseArm], ...] = (
    BelowChance,
    AnswerPMI,
    FewShot,
    Prefill,
    UserPersona,
    DeploymentSuffix,
)
"""Cheap, and the winners of most published comparisons: run in every audit."""

INTERNAL: tuple[type[BaseArm], ...] = (
    ActivationNoise,
    FixedNoise,
    WeightNoiseArm,
    LatentDirections,
    WorstCase,
    Demonstrations,
    AntiRefusal,
)
"""Arms that change the model's internals."""

ENTRY_POINTS = "unmask.arms"
"""Entry-point group by which a package adds arms: ``name = "module:Class"``."""


def all_arms() -> dict[str, type[BaseArm]]:
    """Every known arm by name, in the order in which they are run."""
    known = {arm.name: arm for arm in (*ALWAYS, *INTERNAL)}
    for entry in entry_points(group=ENTRY_POINTS):
        known.setdefault(entry.name, entry.load())
    return known


def choose_arms(names: Sequence[str] | None) -> list[BaseArm]:
    """Make the arms of an audit: all of them, or the named ones besides those that always run.

    Raises:
        SettingError: If a name is unknown.
    """
    known = all_arms()
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SettingError(
            f"expected arms among {', '.join(known)}, got {', '.join(unknown)}. "
            "Names are separated by commas; leave --arms out to run all of them."
        )
    always = {arm.name for arm in ALWAYS}
    return [
        arm() for name, arm in known.items() if names is None or name in names or (name in always)
    ]


__all__ = ["ALWAYS", "ENTRY_POINTS", "INTERNAL", "Arm", "all_arms", "choose_arms"]
