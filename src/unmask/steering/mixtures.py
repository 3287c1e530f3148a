"""Are two directions privileged? The response to mixtures of them, and the L^p norm it follows.

Source: da Silva & Heimersheim (arXiv:2606.24964), who find p > 2 for contrastive, MELBO and
dictionary directions, and about 2 for random ones and principal components.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask import stats
from unmask.edits import NO_EDIT, AddVector, Edit, Site
from unmask.models.batch import Batch, TokenRow
from unmask.models.subject import Subject
from unmask.steering.spheres import units


def mixing_powers(
    subject: Subject,
    prompts: Sequence[TokenRow],
    layer: int,
    directions: Float[Tensor, "direction d_model"],
    radius: float,
    *,
    n_angles: int = 9,
) -> Float[np.ndarray, " pair"]:
    """Fit p for every pair of neighbouring directions: first and second, third and fourth, ...

    Args:
        subject: The model.
        prompts: Mixtures are added at their last token; the responses (distance of what leaves the
            last block) are averaged over them.
        layer: Mixtures are added to what enters this block.
        directions: An even number of them.
        radius: Length of every mixture; the pair is made orthogonal first, or mixing would change
            the length.
        n_angles: From 0 to a quarter turn.

    Raises:
        ValueError: If a direction changes nothing at this length.
    """
    angles = np.linspace(0, np.pi / 2, n_angles)
    turn = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1)).float()
    pairs = units(directions.float().cpu()).unflatten(0, (-1, 2))
    first, second = pairs.unbind(1)
    second = units(second - (second * first).sum(-1, keepdim=True) * first)
    mixed = radius * (turn @ torch.stack([first, second], dim=1)).flatten(0, 1)
    site = Site(layer, "resid_pre", "last")
    edits: list[Edit] = [NO_EDIT, *(AddVector(site, vector) for vector in mixed)]
    subject.check_length(prompts)
    final: dict[tuple[int, int], Tensor] = {}

    def take(numbers: Sequence[int], batch: Batch, hidden: Tensor) -> None:
        for number, rows in zip(numbers, hidden[:, :, 0].float().cpu(), strict=True):
            final.update(
                {(number, index): row for index, row in zip(batch.indices, rows, strict=True)}
            )

    subject.engine.under_together(prompts, edits, take)
    moved = [
        [float((final[number, row] - final[0, row]).norm()) for row in range(len(prompts))]
        for number in range(1, len(edits))
    ]
    table = np.mean(moved, axis=1).reshape(len(pairs), n_angles)
    return np.array([stats.mixing_power(angles, line) for line in table])
