"""Scoring under many edits: what is computed, by the engine and by plain hooks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks import plain
from benchmarks.model import OPTIONS, directions, prompt
from unmask.edits import AddVector, Positions, Site
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.engine import Engine
from unmask.models.passes import CleanPass, clean, edited
from unmask.models.planner import Plan
from unmask.models.scoring import Reader, Reading, Wanted, score


@dataclass
class Scoring:
    """A prompt, K vectors at one site, and log-probabilities of four tokens at the last columns."""

    engine: Engine
    model: PreTrainedModel
    n_tokens: int
    block: int
    """The vectors are added to what enters it."""
    positions: Positions
    n_edits: int = 32
    n_suffix: int = 1
    """For `answer`: so many tokens follow the prompt; all of them are edited and read."""
    vectors: Float[Tensor, "n_edits d_model"] = field(init=False)

    def __post_init__(self) -> None:
        decoder = self.engine.decoder
        self.vectors = directions(self.n_edits, decoder.d_model).to(decoder.device)
        self.ids = prompt(self.n_tokens)
        answer = self.positions == "answer"
        cut = self.n_tokens - self.n_suffix if answer else self.n_tokens
        continuations = (self.ids[cut:],) if answer else ()
        columns = range(1, self.n_suffix + 1) if answer else range(1)
        # The last prompt token is read as well if the answer is edited: it predicts its start.
        wanted = tuple(Wanted(column, OPTIONS, tuple(range(4))) for column in columns)
        self.reading = Reading(TokenRow(self.ids[:cut], continuations), wanted)
        self.edits = [
            AddVector(Site(self.block, "resid_pre", self.positions), vector)
            for vector in self.vectors
        ]

    @property
    def name(self) -> str:
        where = {
            "all": "all positions",
            "last": "last position",
            "answer": f"last {self.n_suffix} positions",
        }[self.positions]
        return f"{where}, block {self.block}, T={self.n_tokens}, K={self.n_edits}"

    @property
    def columns(self) -> slice:
        """Which columns are edited."""
        return {
            "all": slice(None),
            "last": slice(-1, None),
            "answer": slice(-self.n_suffix, None),
        }[self.positions]

    def whole(self) -> Float[Tensor, "n_edits read option"]:
        """Run everything: the unedited pass, the edited ones, the scores."""
        answers = score(self.engine, [self.reading], self.edits)
        values = [[value for _, value in one[0].log_probs] for one in answers]
        return torch.tensor(values).unflatten(1, (-1, len(OPTIONS)))

    def prepared(self) -> tuple[Batch, Plan, CleanPass]:
        """Run the unedited pass."""
        decoder = self.engine.decoder
        batch = lay_out([self.reading.row], (0,), 0, decoder.device)
        plan = self.engine.plan(batch, list(enumerate(self.edits)))
        return batch, plan, clean(decoder, batch, plan.needs)

    def from_prepared(self) -> Callable[[], None]:
        """Run the unedited pass now; the call returned runs the edited ones and the scores."""
        _, plan, done = self.prepared()
        read = Reader(self.engine.decoder, [self.reading])

        def call() -> None:
            for group in plan.groups:
                parts = [self.edits[number].activations for number in group.numbers]
                results = edited(
                    self.engine.decoder, done, parts, group.block, group.column, group.packing
                )
                read(torch.stack([result.final for result in results]))

        return call

    def batched(self) -> Tensor:
        """Do the same by one batch of full forwards with hooks."""
        return plain.batched(
            self.model, self.ids, self.block, self.vectors, self.columns, self.n_suffix
        )

    def looped(self) -> Tensor:
        """Do the same by one full forward with a hook for each edit."""
        return plain.looped(
            self.model, self.ids, self.block, self.vectors, self.columns, self.n_suffix
        )

    def check(self) -> None:
        """Make sure that ours and theirs are the same numbers, and that the edits did something."""
        ours, theirs = self.whole(), self.batched().cpu()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        assert (theirs[0] - theirs[1]).abs().max() > 0.01, "the edits make no difference"
