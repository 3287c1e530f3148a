"""Noise on the weights."""

from collections.abc import Iterable

from unmask.arms.base import Arm, Setting
from unmask.edits import Edit, WeightNoise
from unmask.models.subject import Subject


class WeightNoiseArm(Arm):
    """Gaussian noise on every weight, relative to its tensor's standard deviation.

    Source: Tice et al. (arXiv:2412.01784), who use absolute sizes up to 0.01 and the largest score
    over all of them; here the size is selected on one half of the items and tested on the other.
    """

    name = "weight_noise"
    selection_seeds = 2
    confirmation_seeds = 4
    sigmas = (0.03, 0.06, 0.12, 0.24)

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """The sizes."""
        for sigma in self.sigmas:
            yield {"sigma": sigma}

    def edits(self, setting: Setting, seed: int) -> Edit:
        """One draw for the whole model."""
        return WeightNoise(setting["sigma"], seed)
