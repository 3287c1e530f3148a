"""Response curves: how the output changes as one activation is moved further and further.

The activation is that of the prompt's last token, at the input of one block. It is moved towards
the activation of another prompt, which is what a model must tell apart, and, over the same length,
towards samples of a Gaussian fitted to activations, in isotropic directions, or along given ones.
Where the output stays as it is for long and then changes at once, there is an activation plateau.

Source: Heimersheim & Mendel (2024); Janiak et al. (arXiv:2409.17113); Lee & Heimersheim
(arXiv:2410.12555), without two faults of the latter's code: isotropic directions are not taken
minus the activation, which shrinks it, and every prompt has targets of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask import stats
from unmask.edits import NO_EDIT, AddVector, Edit, Site
from unmask.errors import SettingError
from unmask.hashing import key_bits
from unmask.models.activations import activations
from unmask.models.batch import Batch, TokenRow
from unmask.models.subject import Subject
from unmask.steering.spheres import units

ReadOut = Literal["kl", "js", "l2"]
READ_OUTS: tuple[ReadOut, ...] = ("kl", "js", "l2")
"""KL(unperturbed || perturbed) of the next token in nats; the Jensen-Shannon distance of the two
(square root of the divergence to base 2, at most 1); the distance of what leaves the last block."""

Paths = Float[Tensor, "prompt path d_model"]
"""From each prompt's activation to where it is moved."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Response curves of several kinds of directions at one layer."""

    layer: int
    alphas: Float[np.ndarray, " n_alphas"]
    """Shares of the way, from 0 to 1."""
    lengths: Mapping[str, Float[np.ndarray, "n_prompts n_paths"]]
    """For each kind, length of the whole way in units of the stream."""
    responses: Mapping[ReadOut, Mapping[str, Float[np.ndarray, "n_prompts n_paths n_alphas"]]]
    """For each read-out and kind."""

    def shapes(self, read_out: ReadOut, kind: str) -> stats.Shape:
        """Describe each curve of a kind."""
        responses = self.responses[read_out][kind]
        return stats.shape(self.alphas, responses.reshape(-1, len(self.alphas)))

    def summary(
        self, read_out: ReadOut, kind: str, *, seed: int = 0
    ) -> dict[str, tuple[float, stats.Interval]]:
        """Mean over prompts of each part of the shape, with 95 % bootstrap intervals over prompts.

        Curves that do not respond at their end are left out.
        """
        rng = np.random.default_rng(seed)
        n_prompts = len(self.lengths[kind])
        found = {}
        for name, values in self.shapes(read_out, kind)._asdict().items():
            table = values.reshape(n_prompts, -1)
            answering = np.isfinite(table).any(1)
            means = np.nanmean(table[answering], axis=1)
            if len(means) > 1:
                found[name] = (float(means.mean()), stats.bootstrap_mean(means, rng=rng))
        return found


def measure_curves(
    subject: Subject,
    prompts: Sequence[TokenRow],
    layer: int,
    paths: Mapping[str, Paths],
    *,
    n_alphas: int = 41,
) -> Curves:
    """Measure response curves.

    Args:
        subject: The model.
        prompts: Without continuations.
        layer: The last token's activation is moved where it enters this block.
        paths: For each kind of directions, as `towards_others` and its siblings make them.
        n_alphas: Points of a curve.

    Raises:
        SettingError: If there are fewer than 3 points.
    """
    if n_alphas < 3:
        raise SettingError(
            f"expected at least 3 points of a curve, got {n_alphas}. 41 show a boundary well."
        )
    subject.check_length(prompts)
    alphas = np.linspace(0, 1, n_alphas)
    kinds = list(paths)
    together = torch.cat([paths[kind] for kind in kinds], dim=1)
    measured = torch.stack(
        [
            _of_prompt(subject, prompt, layer, mine, alphas)
            for prompt, mine in zip(prompts, together, strict=True)
        ]
    ).numpy()
    responses: dict[ReadOut, dict[str, np.ndarray]] = {read_out: {} for read_out in READ_OUTS}
    start = 0
    for kind in kinds:
        stop = start + paths[kind].shape[1]
        for number, read_out in enumerate(READ_OUTS):
            responses[read_out][kind] = measured[:, start:stop, :, number]
        start = stop
    lengths = {kind: paths[kind].norm(dim=-1).numpy() for kind in kinds}
    return Curves(layer, alphas, lengths, responses)


def _of_prompt(
    subject: Subject,
    prompt: TokenRow,
    layer: int,
    paths: Float[Tensor, "path d_model"],
    alphas: Float[np.ndarray, " n_alphas"],
) -> Float[Tensor, "path alpha read_out"]:
    """Measure the curves of one prompt: every point is one edit of its last token."""
    site = Site(layer, "resid_pre", "last")
    edits: list[Edit] = [NO_EDIT]
    edits += [AddVector(site, path, float(a)) for path in paths for a in alphas[1:]]
    final: dict[int, Tensor] = {}

    def take(numbers: Sequence[int], _: Batch, hidden: Float[Tensor, "edits 1 1 d_model"]) -> None:
        final.update(zip(numbers, hidden[:, 0, 0], strict=True))

    subject.engine.under_together([prompt], edits, take)
    before = final[0]
    points = torch.stack([final[number] for number in range(1, len(edits))])
    found = torch.cat([_responses(subject, before, some) for some in points.split(256)])
    found = found.cpu().unflatten(0, (len(paths), -1))
    return torch.cat([torch.zeros_like(found[:, :1]), found], dim=1)


@torch.no_grad()
def _responses(
    subject: Subject, before: Float[Tensor, " d_model"], after: Float[Tensor, "point d_model"]
) -> Float[Tensor, "point read_out"]:
    """The read-outs of some points, in the order of `READ_OUTS`."""
    p = subject.decoder.logits(before[None]).double().log_softmax(-1)
    q = subject.decoder.logits(after).double().log_softmax(-1)
    middle = torch.logaddexp(p, q) - np.log(2)
    kl = _kl(p, q)
    js = ((_kl(p, middle) + _kl(q, middle)) / (2 * np.log(2))).clamp(min=0).sqrt()
    return torch.stack([kl, js, (after - before).double().norm(dim=-1)], dim=-1)


def _kl(p: Float[Tensor, "#point d_vocab"], q: Float[Tensor, "point d_vocab"]) -> Tensor:
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)


def last_activations(
    subject: Subject, prompts: Sequence[TokenRow], layer: int
) -> Float[Tensor, "prompt d_model"]:
    """The activation of each prompt's last token where it enters a block."""
    return torch.cat(activations(subject, prompts, Site(layer, "resid_pre", "last")))


def towards_others(acts: Float[Tensor, "prompt d_model"], n_paths: int, *, seed: int = 0) -> Paths:
    """Ways from each prompt's activation to those of other prompts, drawn without replacement.

    Raises:
        SettingError: If too few prompts have different activations.
    """
    paths = []
    for number, mine in enumerate(acts):
        others = (acts - mine)[(acts - mine).norm(dim=-1) > 1e-3]
        if len(others) < n_paths:
            raise SettingError(
                f"expected at least {n_paths} prompts that differ from each one, got "
                f"{len(others)}. Give more prompts, or ask for fewer directions."
            )
        gen = torch.Generator().manual_seed(key_bits("towards", seed, number))
        paths.append(others[torch.randperm(len(others), generator=gen)[:n_paths]])
    return torch.stack(paths)


def towards_samples(
    acts: Float[Tensor, "prompt d_model"],
    samples: Float[Tensor, "sample d_model"],
    lengths: Float[Tensor, "prompt path"],
) -> Paths:
    """Ways towards samples, such as those of a fitted Gaussian, cut or stretched to given lengths.

    Each prompt has samples of its own, as many as it has lengths; they are taken in order.
    """
    targets = samples[: lengths.numel()].unflatten(0, tuple(lengths.shape))
    return units(targets - acts[:, None]) * lengths[..., None]


def isotropic(
    acts: Float[Tensor, "prompt d_model"], lengths: Float[Tensor, "prompt path"], *, seed: int = 0
) -> Paths:
    """Uniformly random directions over given lengths."""
    gen = torch.Generator().manual_seed(key_bits("isotropic", seed))
    drawn = torch.randn(*lengths.shape, acts.shape[-1], generator=gen)
    return units(drawn) * lengths[..., None]


def along(
    directions: Float[Tensor, "path d_model"], lengths: Float[Tensor, "prompt path"]
) -> Paths:
    """Given directions, such as a dictionary's features or steering vectors, over given lengths."""
    return units(directions)[None] * lengths[..., None]
