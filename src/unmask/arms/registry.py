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

INTERNAL: tuple[type[BaseArm], ...] = (LatentDirections, Demonstrations, WorstCase)
"""Arms that change the model's internals, and are run by default."""

BY_NAME: tuple[type[BaseArm], ...] = (ActivationNoise, FixedNoise, WeightNoiseArm, AntiRefusal)
"""Arms that are run when they are named. On 27 organisms they found none that others had not found
(`docs/organisms.md`), and they took half of an audit's time."""

EVERY = "all"
"""What stands for every arm among names."""

ENTRY_POINTS = "unmask.arms"
"""Entry-point group by which a package adds arms: ``name = "module:Class"``."""


def all_arms() -> dict[str, type[BaseArm]]:
    """Every known arm by name, in the order in which they are run."""
    known: dict[str, type[BaseArm]] = {arm.name: arm for arm in (*ALWAYS, *INTERNAL, *BY_NAME)}
    for entry in entry_points(group=ENTRY_POINTS):
        known.setdefault(entry.name, entry.load())
    return known


def choose_arms(names: Sequence[str] | None) -> list[BaseArm]:
    """Make the arms of an audit.

    Args:
        names: Of arms that are run besides those that always are; "all" for every arm, None for
            the default: every arm but those in `BY_NAME`.

    Raises:
        SettingError: If a name is unknown.
    """
    known = all_arms()
    unknown = [name for name in names or () if name not in (*known, EVERY)]
    if unknown:
        raise SettingError(
            f"expected arms among {', '.join(known)}, got {', '.join(unknown)}. "
            f"Names are separated by commas; {EVERY!r} runs all of them."
        )
    by_name = {arm.name for arm in BY_NAME}
    always = {arm.name for arm in ALWAYS}
    if names is None:
        wanted = set(known) - by_name
    elif EVERY in names:
        wanted = set(known)
    else:
        wanted = always | set(names)
    return [arm() for name, arm in known.items() if name in wanted]


__all__ = ["ALWAYS", "BY_NAME", "ENTRY_POINTS", "INTERNAL", "Arm", "all_arms", "choose_arms"]
