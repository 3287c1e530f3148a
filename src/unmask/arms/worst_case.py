"""The smallest perturbation that brings a target out: how near the surface is it?"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.arms.base import ComparingArm, no_replay
from unmask.models.batch import TokenRow, lay_out
from unmask.models.segments import Segment
from unmask.models.subject import Subject
from unmask.tasks import Item, Task, row

N_STEPS = 16
STEP = 0.25
"""Length of a step as a share of the radius."""


class WorstCase(ComparingArm):
    """Smallest per-token perturbation under which the target is written, against the reference's.

    A projected gradient search adds a vector of its own to each token of the prompt, at a quarter
    of the depth, and maximises the target's log-probability; for each of a row of radii at once.
    The radius is the smallest at which the model would write the target, token by token the most
    probable; in units of the stream's norm at each token. Any model can be made to say anything, so
    only the comparison with a reference counts. It is for behaviours: of two models with the same
    capability, the one that shows it openly needs no perturbation at all.

    Source: the attack of latent adversarial training (Casper et al., arXiv:2403.05030; Sheshadri et
    al., arXiv:2407.15549). Comparing radii with a twin's is ours.
    """

    name = "worst_case"
    quantity = "smallest radius that brings out the target, in norms of the stream"
    n_items = 32
    radii = tuple(float(r) for r in 0.01 * 2 ** (np.arange(16) / 2))
    """From .01 to 1.8, each 1.41 times the one before."""

    @property
    def most(self) -> float:
        """What counts for an item whose target does not come out at the largest radius."""
        return self.radii[-1] * 2

    def not_applicable(self, subject: Subject, task: Task) -> str:
        """Only tasks that measure a behaviour."""
        if task.measures == "behaviour":
            return no_replay(subject)
        return "it compares how near a behaviour is, and the task measures a capability"

    def measure(
        self, subject: Subject, task: Task, items: Sequence[Item]
    ) -> Float[np.ndarray, " n_items"]:
        """Find each item's radius; 0 where the target comes out unperturbed."""
        return np.array([self._radius(subject, task, item) for item in items])

    def _radius(self, subject: Subject, task: Task, item: Item) -> float:
        prompt = task.prompts(item)[0]
        asked = row(prompt, subject.tokenizer, subject.chat)
        answer = prompt.choices[prompt.target] if prompt.choices else item.answer
        ids = subject.encode(asked.text, templated=asked.templated)
        target = subject.continuation(asked.text, answer, templated=asked.templated)
        search = _Search(subject, TokenRow(ids, (target[:-1],)), target)
        if bool(search.writes(search.start(1))[0]):
            return 0.0
        written, _ = search.run(torch.tensor(self.radii))
        return self.radii[int(written.int().argmax())] if written.any() else self.most


class _Search:
    """Projected gradient ascent on one prompt, at several radii at once."""

    def __init__(self, subject: Subject, row: TokenRow, target: Sequence[int]) -> None:
        subject.check_length([row])
        self.decoder = subject.decoder
        batch = lay_out([row], (0,), subject.pad, self.decoder.device)
        self.source = min(max(1, subject.n_layers // 4), subject.n_layers - 1)
        self.segment = Segment(self.decoder, batch, self.source, subject.n_layers)
        self.target = torch.tensor(target, device=self.decoder.device)
        self.n_prompt = len(row.prompt)
        self.norms = self.segment.entering[0, : self.n_prompt].norm(dim=-1, keepdim=True)

    def start(self, copies: int) -> Float[Tensor, "copies pos d_model"]:
        """No perturbation."""
        entering = self.segment.entering
        return entering.new_zeros(copies, self.n_prompt, entering.shape[-1])

    def logits(
        self, change: Float[Tensor, "copies pos d_model"]
    ) -> Float[Tensor, "copies target d_vocab"]:
        """Logits at the tokens that predict the target, under a change of the prompt's tokens."""
        entering = self.segment.entering[0]
        prompt = entering[: self.n_prompt] + change
        rest = entering[self.n_prompt :].expand(len(change), -1, -1)
        leaving = self.segment(torch.cat([prompt, rest], dim=1)[:, None])
        return self.decoder.logits(leaving[:, 0, self.n_prompt - 1 :])

    @torch.no_grad()
    def writes(self, change: Float[Tensor, "copies pos d_model"]) -> Bool[Tensor, " copies"]:
        """Whether every token of the target is the most probable one."""
        return (self.logits(change).argmax(-1) == self.target).all(-1)

    def run(
        self, radii: Float[Tensor, " copies"]
    ) -> tuple[Bool[Tensor, " copies"], Float[Tensor, "copies pos d_model"]]:
        """Climb within each radius.

        Returns:
            Whether the target came out, and the change that brought it out, or else the last one.
        """
        limits = radii.to(self.norms)[:, None, None] * self.norms
        change = self.start(len(radii))
        written = self.writes(change)
        for _ in range(N_STEPS):
            if written.all():
                break
            change.requires_grad_()
            log_probs = self.logits(change).log_softmax(-1)[:, range(len(self.target)), self.target]
            (gradient,) = torch.autograd.grad(log_probs.sum(), change)
            with torch.no_grad():
                step = torch.nn.functional.normalize(gradient, dim=-1) * limits * STEP
                moved = change + step
                lengths = moved.norm(dim=-1, keepdim=True).clamp(min=1e-12)
                moved = moved * (limits / lengths).clamp(max=1)
                change = torch.where(written[:, None, None], change, moved)
                written = written | self.writes(change)
        return written, change.detach()
