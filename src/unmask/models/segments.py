"""Some blocks of a model as a differentiable function of what enters them.

For searches that change the stream at one block and look at it at a later one: nothing below, above
or, with `column`, before them is computed again, and many changed streams go through together.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.errors import SettingError
from unmask.models.attention import KeyValues, first_columns
from unmask.models.batch import Batch
from unmask.models.forward import Arguments, Decoder, Masks
from unmask.models.passes import Copies, arguments_of, masks_of, whole


class Segment:
    """Blocks `start` to `stop` - 1 over one batch.

    Calling it gives gradients to what enters, and none to weights.
    """

    @torch.no_grad()
    def __init__(
        self, decoder: Decoder, batch: Batch, start: int, stop: int, column: int = 0
    ) -> None:
        """Run the unedited model up to the last of the blocks.

        Args:
            decoder: The model.
            batch: Rows with at most one continuation each if the decoder does not pack.
            start: The first block.
            stop: The block after the last.
            column: The first column that is changed; it and those after it go through the blocks.

        Raises:
            SettingError: If there are no such blocks or columns, or the model's blocks cannot be
                run by themselves.
        """
        self._check(decoder, batch, start, stop, column)
        self.decoder, self.batch, self.column = decoder, batch, column
        self.blocks = range(start, stop)
        run, hidden = whole(decoder, batch)
        run.keys = KeyValues(keep=self.blocks if column else ())
        hidden = run.through(hidden, range(start))
        self.entering: Float[Tensor, "batch pos d_model"] = hidden[:, column:]
        """What enters the first block, unedited."""
        self.leaving: Float[Tensor, "batch pos d_model"] = run.through(hidden, self.blocks)[
            :, column:
        ]
        """What leaves the last one, unedited."""
        self._keys = run.keys.kept
        self._called_with: dict[int, tuple[Arguments, Masks | None]] = {}

    def __call__(
        self, hidden: Float[Tensor, "copies batch pos d_model"]
    ) -> Float[Tensor, "copies batch pos d_model"]:
        """Run the blocks on several changed streams.

        Args:
            hidden: What enters the first block at the columns from `column` on, in any number of
                copies.

        Returns:
            What leaves the last block there.
        """
        number = len(hidden)
        if number not in self._called_with:
            copies = Copies(self.batch, self.column, number)
            with torch.no_grad():
                arguments = arguments_of(self.decoder, copies, self.column)
                self._called_with[number] = arguments, masks_of(self.decoder, copies)
        arguments, masks = self._called_with[number]
        earlier = first_columns(self._keys, self.column, self._keys.keys(), number)
        with frozen(self.decoder.model):
            leaving = self.decoder.blocks_on(
                hidden.flatten(0, 1),
                self.blocks,
                arguments,
                masks=masks,
                keys=KeyValues(earlier),
            )
        return leaving.unflatten(0, (number, -1))

    @staticmethod
    def _check(decoder: Decoder, batch: Batch, start: int, stop: int, column: int) -> None:
        if not 0 <= start < stop <= decoder.n_layers:
            raise SettingError(
                f"expected blocks start < stop among 0 to {decoder.n_layers} (the model's number "
                f"of blocks), got {start} to {stop}. `stop` is the block after the last one."
            )
        if not 0 <= column < batch.n_columns:
            raise SettingError(
                f"expected a first column below {batch.n_columns} (those of the batch), got "
                f"{column}. Count from 0, padding included."
            )
        if not decoder.exact or (column and not decoder.packs):
            raise SettingError(
                "expected a model whose blocks can be run by themselves, got one that needs full "
                "passes (or, from a column on, one without a cache). Use column 0, or another "
                "architecture of unmask/models/families.py."
            )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Record no gradients for a model's weights while the context is open."""
    tracked = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in tracked:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in tracked:
            weight.requires_grad_(True)
