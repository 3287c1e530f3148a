"""The activations at a site, of every token of some rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from unmask.edits import ActivationEdit, Site, Tokens
from unmask.models.batch import TokenRow
from unmask.models.subject import Subject


def activations(
    subject: Subject, rows: Sequence[TokenRow], site: Site, *, first: int = 0
) -> list[Float[Tensor, "pos d_model"]]:
    """Collect the unedited activations at a site.

    Args:
        subject: The model.
        rows: Token ids, with at most one continuation each.
        site: Layer, stream and positions.
        first: Positions before this one are left out. Attention sinks at a text's first token have
            norms hundreds of times the others'.

    Returns:
        For each row, its activations in order; float32, on the CPU.
    """
    found = dict(each_activations(subject, rows, site, first=first))
    return [found[index] for index in range(len(rows))]


def each_activations(
    subject: Subject, rows: Sequence[TokenRow], site: Site, *, first: int = 0
) -> Iterator[tuple[int, Float[Tensor, "pos d_model"]]]:
    """Like `activations`, one at a time, for more of them than fit into memory.

    Yields:
        A row's number and its activations; rows of like length come together.
    """
    for batch in subject.batches(rows):
        taken: list[Tensor] = []
        subject.decoder.full(batch, _Collector(site, first, taken))
        yield from zip(batch.indices, taken, strict=True)


@dataclass(eq=False)
class _Collector(ActivationEdit):
    """Changes nothing; takes note of what passes, row by row."""

    site: Site
    first: int
    taken: list[Tensor] = field(repr=False)

    def apply(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Take note of the tokens at the site's positions."""
        tokens = tokens.to(acts.device)
        wanted = tokens.mask(self.site.positions) & (tokens.pos >= self.first)
        for row, real in zip(acts, wanted, strict=True):
            self.taken.append(row[real].detach().float().cpu())
        return acts

    def change(
        self, acts: Float[Tensor, "batch pos d_model"], tokens: Tokens
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the activations as they are."""
        return acts
