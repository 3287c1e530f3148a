"""Poser's noise: one positive random vector at the last token."""

from collections.abc import Iterable

from unmask.arms.base import Arm, Setting
from unmask.edits import Edit, ResidualNoise, Site
from unmask.models.subject import Subject


class FixedNoise(Arm):
    """One random vector with positive components, added at the last token of the prompt.

    Poser's strategy "noise" as its published code has it: uniform numbers on [0, 1], drawn once, at
    layer 15 of 40; here after the block at 3/8 of the depth and in units of the stream's norm.

    Source: Clymer et al. (2024), arXiv:2405.05466.
    """

    name = "fixed_noise"
    selection_seeds = 2
    confirmation_seeds = 4
    scales = (0.25, 0.5, 1.0, 2.0)

    def settings(self, subject: Subject) -> Iterable[Setting]:
        """Scales at one layer."""
        for scale in self.scales:
            yield {"layer": subject.n_layers * 3 // 8, "scale": scale}

    def edits(self, setting: Setting, seed: int) -> Edit:
        """The same vector for every item."""
        site = Site(setting["layer"], "resid_post", "last")
        return ResidualNoise(site, setting["scale"], seed, kind="positive", fresh="run")
