"""What has to be computed for some edits of a batch, and in which passes.

From the edits themselves: the lowest block that one can change and the first column. Edits that
share both share passes; how many stand in one, and how, is what a small cost model finds cheapest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from unmask.edits import Edit
from unmask.models.batch import Batch, TokenRow
from unmask.models.forward import Decoder
from unmask.models.passes import Needs, Packing


class Group(NamedTuple):
    """Edits that are computed in one pass."""

    block: int
    """The first block that one of them can change."""
    column: int
    """The first column that one of them can change."""
    numbers: tuple[int, ...]
    """Which edits."""
    packing: Packing


@dataclass(frozen=True)
class Plan:
    """What is computed for one batch."""

    needs: Needs
    """Of the unedited pass."""
    unedited: tuple[int, ...]
    """Edits that change nothing in this batch."""
    groups: tuple[Group, ...]


class Costs(NamedTuple):
    """FLOPs of one block."""

    per_token: int
    """Of its matrices, for one token."""
    per_pair: int
    """Of attention, for one query and one key: two products, and half as much for the softmax."""
    fixed: int
    """What each pass takes besides, in tokens: weights are read, keys copied, kernels called."""

    def of_pass(self, rows: int, queries: int, keys: int) -> int:
        """Estimate the time of one block, in FLOPs."""
        tokens = rows * queries + self.fixed
        return tokens * self.per_token + rows * queries * keys * self.per_pair


def costs(decoder: Decoder) -> Costs:
    """Read the cost of a block off its weights; a mixture of experts counts as dense.

    The fixed part was measured on a 2-core CPU with blocks of d_model 512 (14 to 24 tokens); for a
    GPU it is about the number of tokens whose arithmetic takes as long as reading the weights.
    """
    block = decoder.blocks[decoder.n_layers // 2]
    weights = sum(weight.numel() for weight in block.parameters() if weight.ndim > 1)
    on_cpu = decoder.device.type == "cpu"
    return Costs(2 * weights, 6 * decoder.d_model, 14 if on_cpu else 256)


def make_plan(
    decoder: Decoder,
    batch: Batch,
    edits: Sequence[tuple[int, Edit]],
    tokens_per_pass: int,
    packing: Packing | None = None,
    continued: bool = False,
) -> Plan:
    """Plan the passes over one batch.

    Args:
        decoder: The model.
        batch: The rows.
        edits: Of activations, each with its number.
        tokens_per_pass: Most tokens in one pass, if one copy of the rows has no more.
        packing: Forces how copies stand in a pass; by default the cheaper way.
        continued: Whether texts go on from the batch: then all keys and values are needed.

    Raises:
        SettingError: If an edit names a layer that the model does not have.
    """
    places: dict[tuple[int, int], list[int]] = {}
    unedited = []
    for number, edit in edits:
        decoder.check_layers(edit.activations)
        column = first_column(decoder, batch, edit)
        if column == batch.n_columns:
            unedited.append(number)
            continue
        block = min(part.site.first_block for part in edit.activations)
        places.setdefault((block, column), []).append(number)
    groups = []
    for (block, column), numbers in places.items():
        size, how = _packed(decoder, batch, column, len(numbers), tokens_per_pass, packing)
        for first in range(0, len(numbers), size):
            groups.append(Group(block, column, tuple(numbers[first : first + size]), how))
    needs = _needs(decoder, batch, list(places), bool(unedited), continued)
    return Plan(needs, tuple(unedited), tuple(groups))


def first_column(decoder: Decoder, batch: Batch, edit: Edit) -> int:
    """Find the first column that an edit can change; the number of columns if there is none."""
    firsts = {
        "all": 0,
        "prompt": 0,
        "last": batch.n_prompt - 1,
        "answer": batch.n_prompt,
    }
    if not edit.activations:
        return batch.n_columns
    column = min(firsts[part.site.positions] for part in edit.activations)
    return column if decoder.packs or column == batch.n_columns else 0


def _needs(
    decoder: Decoder,
    batch: Batch,
    places: Sequence[tuple[int, int]],
    unedited: bool,
    continued: bool,
) -> Needs:
    """Say what the unedited pass keeps for edits at these blocks and columns."""
    resid: dict[int, int] = {}
    lowest, stop, final = decoder.n_layers, 0, unedited
    if continued:
        lowest, stop = 0, decoder.n_layers if unedited else 0
    for block, column in places:
        if block == decoder.n_layers:
            final = True  # it is kept where it is read
            column = batch.n_prompt - 1
        elif column:
            lowest, stop = min(lowest, block), decoder.n_layers
        if continued:  # an edit's own keys and values begin at its block
            stop = max(stop, block)
        final = final or column == batch.n_prompt
        resid[block] = min(column, resid.get(block, column))
    return Needs(resid, range(lowest, stop), final)


def _packed(
    decoder: Decoder,
    batch: Batch,
    column: int,
    n_edits: int,
    tokens_per_pass: int,
    packing: Packing | None,
) -> tuple[int, Packing]:
    """Choose how many copies of the columns from one on stand in a pass, and how."""
    rows, width = len(batch.indices), batch.n_columns - column
    most = max(1, min(n_edits, tokens_per_pass // (rows * width)))
    if packing is None:
        packing = "tree" if column and decoder.packs else "rows"
    if packing == "rows":
        return most, packing
    cost = costs(decoder)

    def total(copies: int) -> int:
        queries = copies * width
        return ceil(n_edits / copies) * cost.of_pass(rows, queries, column + queries)

    sizes = {ceil(n_edits / passes) for passes in range(ceil(n_edits / most), n_edits + 1)}
    return min(sizes, key=total), packing


def shared_prefix(rows: Sequence[TokenRow]) -> int:
    """Find how long a prefix all prompts share, if it is worth a pass of its own; else 0.

    At least one token of each prompt is left, since it is read.
    """
    if len(rows) < 2:
        return 0
    first, last = min(row.prompt for row in rows), max(row.prompt for row in rows)
    most = min(len(row.prompt) for row in rows) - 1
    same = next((n for n in range(most) if first[n] != last[n]), most)
    mean = sum(map(len, rows)) / len(rows)
    return same if same >= 16 and 4 * same >= mean else 0
