"""What vectors, added to the stream at one block, change at a later one.

Every search asks this question, and only this: how does what enters block `target` change if a
vector is added to what enters block `source`? Only the blocks between are run, for many vectors at
once, and the vectors get gradients.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unmask.edits import Constraint, Positions
from unmask.errors import SettingError
from unmask.models.batch import TokenRow, lay_out
from unmask.models.segments import Segment, frozen
from unmask.models.subject import Subject

Vectors = Float[Tensor, "vectors d_model"]
Changes = Float[Tensor, "vectors prompt read d_model"]
Search = Callable[["Response", float], Vectors]
"""Takes what vectors change, and a radius; returns vectors."""


class Response:
    """The change that each of many vectors makes, over some prompts; differentiable.

    The published codes call the block before `source` the source layer, since they add the vector
    to what its MLP writes: their source layer 7 is block 8 here.
    """

    def __init__(
        self,
        subject: Subject,
        prompts: Sequence[TokenRow],
        source: int,
        target: int,
        *,
        positions: Positions = "all",
        n_read: int | None = 3,
        basis: Float[Tensor, "d_model d_model"] | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        """Run the unedited model over the prompts.

        Args:
            subject: The model.
            prompts: One batch of them; of like length, or much of it is padding.
            source: The vectors are added to what enters this block.
            target: The change is read of what enters this block; `n_layers` for what leaves the
                last one.
            positions: To which tokens the vectors are added.
            n_read: At how many of the last tokens the change is read; None for all.
            basis: If given, vectors are coordinates: what is added is ``vector @ basis``. With the
                inverse of a whitening, a sphere of vectors is a whitened one.
            constraint: If given, what may be added to each token.

        Raises:
            SettingError: If there are no prompts or no such blocks, or a number of tokens below 1.
            SubjectError: If a prompt is longer than the model's context.
        """
        if not prompts or (n_read is not None and n_read < 1):
            raise SettingError(
                f"expected at least one prompt and one token to read, got {len(prompts)} prompts "
                f"and {n_read} tokens. Take some of the task's own prompts."
            )
        subject.check_length(prompts)
        self.subject, self.source, self.target = subject, source, target
        self.positions: Positions = positions
        batch = lay_out(prompts, range(len(prompts)), subject.pad, subject.decoder.device)
        changed = batch.tokens.mask(positions)
        column = int(changed.any(0).nonzero()[0]) if subject.decoder.packs else 0
        with torch.no_grad():
            self._segment = Segment(subject.decoder, batch, source, target, column)
        self._changed = changed[:, column:, None]
        n_columns = batch.n_columns - column
        self._read = slice(-min(n_read or n_columns, n_columns), None)
        self.reads: Bool[Tensor, "prompt read"] = (batch.tokens.pos >= 0)[:, column:][:, self._read]
        """Which of the tokens read are real; the change at the others is 0."""
        self._basis, self._constraint = basis, constraint
        self.at_once = max(1, subject.engine.tokens_per_batch // (len(prompts) * n_columns))
        """How many vectors go through the blocks together."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.subject.d_model

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self._segment.entering.device

    @property
    def entering(self) -> Float[Tensor, "token d_model"]:
        """The unedited activations of every token to which vectors are added."""
        return self._segment.entering[self._changed[..., 0]]

    @property
    def unedited(self) -> Float[Tensor, "prompt read d_model"]:
        """The unedited activations that are read."""
        return self._segment.leaving[:, self._read]

    @property
    def norm_at_target(self) -> float:
        """Median norm of the unedited activations that are read."""
        return float(self.unedited[self.reads].float().norm(dim=-1).median())

    def added(self, vectors: Vectors) -> Vectors:
        """What is added for given coordinates, before any constraint."""
        return vectors if self._basis is None else vectors @ self._basis.to(vectors)

    def __call__(self, vectors: Vectors) -> Changes:
        """Run the blocks with each of the vectors; see `at_once` for how many to give."""
        entering = self._segment.entering
        edit = self.added(vectors).to(entering)[:, None, None] * self._changed
        if self._constraint is not None:
            edit = self._constraint(entering.expand_as(edit), edit)
        change = self._segment(entering + edit)[:, :, self._read]
        change = change - self.unedited
        return change.float() * self.reads[..., None]

    def mean(self, vectors: Vectors) -> Vectors:
        """The change averaged over the tokens that are read, then over the prompts."""
        return self.mean_over(self(vectors))

    def mean_over(self, changes: Changes) -> Vectors:
        """Average changes as `mean` does."""
        return (changes.sum(2) / self.reads.sum(1)[:, None]).mean(1)

    @torch.no_grad()
    def mean_of(self, vectors: Vectors) -> Vectors:
        """`mean`, of any number of vectors, without gradients."""
        return torch.cat([self.mean(some) for some in vectors.split(self.at_once)])

    @torch.no_grad()
    def size_of(self, vectors: Vectors) -> Float[Tensor, " vectors"]:
        """Root mean square, over prompts and tokens read, of the length of the change."""
        parts = [self(some).square().sum((1, 2, 3)) for some in vectors.split(self.at_once)]
        return (torch.cat(parts) / self.reads.sum()).sqrt()

    def gradients(
        self,
        vectors: Vectors,
        score: Callable[[Changes, slice], Float[Tensor, " some"]],
    ) -> tuple[Float[Tensor, " vectors"], Vectors]:
        """Score the change of each vector, and differentiate.

        Args:
            vectors: Any number.
            score: Takes the changes of some vectors, and which these are; one score for each.

        Returns:
            The scores, and their gradients with respect to the vectors.
        """
        scores, gradients = [], []
        for part in self._parts(len(vectors)):
            some = vectors[part].detach().requires_grad_()
            found = score(self(some), part)
            (gradient,) = torch.autograd.grad(found.sum(), some)
            scores.append(found.detach())
            gradients.append(gradient)
        return torch.cat(scores), torch.cat(gradients)

    def gradients_of_mean(self, vectors: Vectors, outputs: Vectors) -> tuple[Vectors, Vectors]:
        """Differentiate the component of each vector's mean change along its own output vector.

        Returns:
            The mean changes, and the gradients.
        """
        means = []

        def component(changes: Changes, part: slice) -> Float[Tensor, " some"]:
            mean = self.mean_over(changes)
            means.append(mean.detach())
            return (mean * outputs[part]).sum(-1)

        _, gradients = self.gradients(vectors, component)
        return torch.cat(means), gradients

    def linear(self, vectors: Vectors) -> Changes:
        """Compute ``J v``: the derivative of the change at 0 along each vector."""
        zeros = torch.zeros_like(vectors)
        with self.higher_derivatives():
            parts = [
                torch.func.jvp(self, (zeros[part],), (vectors[part],))[1]
                for part in self._parts(len(vectors))
            ]
        return torch.cat([part.detach() for part in parts])

    def linear_mean(self, vectors: Vectors) -> Vectors:
        """``J v`` of the mean change."""
        return self.mean_over(self.linear(vectors))

    @contextmanager
    def higher_derivatives(self) -> Iterator[None]:
        """Allow forward-mode and second derivatives while the context is open.

        Fused attention kernels have first derivatives in reverse mode only.
        """
        with frozen(self.subject.model), sdpa_kernel(SDPBackend.MATH):
            yield

    def _parts(self, number: int) -> Iterator[slice]:
        for start in range(0, number, self.at_once):
            yield slice(start, start + self.at_once)
