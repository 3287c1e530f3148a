"""The mask of a pass lets each token see its own text, and nothing else."""

import random

import pytest
import torch
from tiny import subject

from unmask.models.attention import (
    KeyValues,
    StopAtKeysError,
    additive,
    first_columns,
    needs_mask,
    visible,
)
from unmask.models.batch import Batch, TokenRow, lay_out

CPU = torch.device("cpu")


def random_batch(rng: random.Random) -> Batch:
    n_shared = rng.choice((0, 0, 2))
    shared = tuple(rng.randrange(50) for _ in range(n_shared))

    def text(least: int, most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(50) for _ in range(rng.randint(least, most)))

    rows = [
        TokenRow((*shared, *text(1, 5)), tuple(text(0, 3) for _ in range(rng.randint(0, 3))))
        for _ in range(rng.randint(1, 3))
    ]
    return lay_out(rows, range(len(rows)), 0, CPU, n_shared)


def sees(batch: Batch, row: int, query: int, key: int, window: int | None) -> bool:
    """Say for two columns of one text whether the first attends to the second."""
    pos, branch = batch.tokens.pos[row], batch.branch[row]
    if pos[key] < 0 or pos[query] < pos[key]:
        return False
    if branch[key] not in (0, branch[query]):
        return False
    return window is None or bool(pos[query] - pos[key] < window)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("copies", [1, 3])
def test_the_mask_is_that_of_a_loop_over_tokens(seed, window, copies):
    rng = random.Random(seed)
    batch = random_batch(rng)
    n = batch.n_columns
    start = rng.randrange(n)
    # Copies all attend: only a single one may hold columns that are keys and no more.
    first = start if copies > 1 else rng.randrange(start, n)
    seen = visible(batch, start, first, window, copies)
    own = list(range(start, n))
    keys = [(None, key) for key in range(start)] + [(c, key) for c in range(copies) for key in own]
    queries = [(c, query) for c in range(copies) for query in range(first, n)]
    assert seen.shape[1:] == (1, len(queries), len(keys))
    for row in range(len(batch.indices)):
        for q, (copy, query) in enumerate(queries):
            mask = seen[row if len(seen) > 1 else 0, 0, q]
            itself = keys.index((copy, query))
            assert mask[itself]  # padding, too, so that it has finite values
            if batch.tokens.pos[row, query] < 0:
                continue  # nothing looks at it
            for k, (of, key) in enumerate(keys):
                expected = of in (None, copy) and sees(batch, row, query, key, window)
                assert bool(mask[k]) == expected, (row, query, key)


def test_a_mask_by_hand():
    rows = [TokenRow((1, 2), ((3, 4), (5,))), TokenRow((6,), ((7,),))]
    batch = lay_out(rows, (0, 1), 0, CPU)
    assert visible(batch, 0, 0).long()[:, 0].tolist() == [
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]],
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 1]],
    ]
    # The window counts positions, not columns: token 5 stands right after the prompt.
    narrow = visible(batch, 2, 2, window=2)[0, 0].long().tolist()
    assert narrow == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]


def test_rows_of_one_length_have_one_mask():
    rows = [TokenRow((1, 2, 3), ((4,),)), TokenRow((5, 6, 7), ((8, 9),))]
    assert visible(lay_out(rows, (0, 1), 0, CPU), 0, 0).shape == (1, 1, 5, 5)
    padded = [*rows, TokenRow((5,))]
    assert visible(lay_out(padded, (0, 1, 2), 0, CPU), 0, 0).shape == (3, 1, 5, 5)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("window", [None, 3])
def test_where_no_mask_is_needed_attention_is_causal(seed, window):
    batch = random_batch(random.Random(seed))
    causal = torch.ones(batch.n_columns, batch.n_columns).tril().bool()
    if not needs_mask(batch, 0, window, 1):
        real = batch.tokens.pos >= 0
        seen = visible(batch, 0, 0, window).expand(len(batch.indices), -1, -1, -1)[:, 0]
        assert torch.equal(seen[real], causal.expand_as(seen)[real])
    assert needs_mask(batch, 1, window, 1)
    assert needs_mask(batch, 0, window, 2)


@pytest.mark.parametrize(
    ("rows", "window", "needed"),
    [
        ([TokenRow((1, 2, 3)), TokenRow((4, 5, 6), ((7,),))], None, False),
        ([TokenRow((1, 2, 3)), TokenRow((4, 5, 6), ((7,),))], 4, False),
        ([TokenRow((1, 2, 3)), TokenRow((4, 5, 6), ((7,),))], 3, True),
        ([TokenRow((1, 2, 3)), TokenRow((4, 5))], None, True),
        ([TokenRow((1, 2, 3), ((4,), (5,)))], None, True),
    ],
)
def test_a_mask_is_needed_for_padding_branches_and_windows(rows, window, needed):
    assert needs_mask(lay_out(rows, range(len(rows)), 0, CPU), 0, window, 1) is needed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_that_is_added_leaves_what_is_seen(dtype):
    seen = torch.tensor([[True, False], [True, True]])
    scores = torch.tensor([[1.0, 50.0], [1.0, 2.0]], dtype=dtype)
    weights = (scores + additive(seen, dtype)).softmax(-1)
    assert weights[0].tolist() == [1, 0]
    torch.testing.assert_close(weights[1], scores[1].softmax(-1))
    assert scores.softmax(-1)[0, 1] > 0.9  # control


def pair(batch: int, columns: int, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((batch, 2, columns, 4), value), torch.full((batch, 2, columns, 4), -value)


def test_keys_of_a_pass_stand_behind_earlier_ones_that_may_serve_all_rows():
    cache = KeyValues({0: pair(1, 3, 1.0)}, keep=(0,))
    key, value = cache.update(*pair(2, 2, 5.0), 0)
    assert key.shape == value.shape == (2, 2, 5, 4)
    assert key[:, 0, :, 0].tolist() == [[1, 1, 1, 5, 5]] * 2
    assert torch.equal(value, -key)
    assert cache.kept[0] == (key, value)
    key, _ = cache.update(*pair(2, 2, 6.0), 1)  # a block without earlier ones, not kept
    assert key.shape == (2, 2, 2, 4) and 1 not in cache.kept


def test_a_cache_can_stop_the_block_or_be_complete():
    stopping = KeyValues({0: pair(2, 3, 1.0)}, keep=(0,), stop=True)
    with pytest.raises(StopAtKeysError):
        stopping.update(*pair(2, 1, 5.0), 0)
    complete = KeyValues(stopping.kept, complete=True)
    key, _ = complete.update(*pair(2, 1, 7.0), 0)
    assert key[0, 0, :, 0].tolist() == [1, 1, 1, 5]


def test_first_columns_are_repeated_for_copies_unless_one_row_serves_all():
    keys = {0: pair(2, 5, 1.0), 1: pair(1, 5, 2.0), 2: pair(2, 5, 3.0)}
    taken = first_columns(keys, 3, (0, 1), copies=2)
    assert set(taken) == {0, 1}
    assert taken[0][0].shape == (4, 2, 3, 4)
    assert taken[1][1].shape == (1, 2, 3, 4)


def test_masks_are_made_for_each_width_of_window():
    decoder = subject("gemma3").decoder
    assert decoder.attention == "sdpa" and set(decoder.windows) == {6, None}
    short = lay_out([TokenRow(tuple(range(5)))], (0,), 0, CPU)
    assert decoder.masks(short) == {6: None, None: None}
    masks = decoder.masks(lay_out([TokenRow(tuple(range(8)))], (0,), 0, CPU))
    assert masks[None] is None and masks[6] is not None
    assert masks[6][0, 0, 7].tolist() == [False] * 2 + [True] * 6
    eager = subject("gemma2").decoder
    assert eager.attention == "eager" and set(eager.windows) == {6, None}
    assert all(mask.dtype == eager.dtype for mask in eager.masks(short).values())
