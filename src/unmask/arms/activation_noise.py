"""Noise on the residual stream."""

from collections.abc import Iterable

from unmask.arms.base import Arm, Setting
from unmask.edits import Edit, ResidualNoise, Site
from unmask.models.subject import Subject


class ActivationNoise(Arm):
    """Gaussian noise on the residual stream, fresh at each token.

    Layers at 1/4, 1/2 and 3/4 of the depth; scales relative to the stream's root mean square at
    each token.

    Source: Poser (arXiv:2405.05466) and Roger (2025), "Fuzzing LLMs sometimes makes them reveal
    their secrets"; the grid of scales is ours, and the damage budget does their tuning.
    """

    name = "activation_noise"
    selection_seeds = 1
    confirmation_seeds = 4
    scales = (0.1, 0.25, 0.5, 1.0)

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Layer by scale."""
        layers = sorted({subject.n_layers * quarter // 4 for quarter in (1, 2, 3)})
        for layer in layers:
            for scale in self.scales:
                yield {"layer": layer, "scale": scale}

    def edits(self, setting: Setting, seed: int) -> Edit:
        """Noise before the block."""
        return ResidualNoise(Site(setting["layer"], "resid_pre"), setting["scale"], seed)
