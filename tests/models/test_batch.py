"""Where tokens stand in a batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.models.batch import Batch, TokenRow, lay_out, make_batches

CPU = torch.device("cpu")
PAD = 99

tokens = st.integers(0, 9)
texts = st.lists(tokens, max_size=4).map(tuple)
# Of tuples: rows are made in the test, since type checks in a strategy draw random numbers.
prompts = st.lists(tokens, min_size=1, max_size=6).map(tuple)
fields = st.tuples(prompts, st.lists(texts, max_size=3).map(tuple), st.integers(0, 1000))


def test_a_layout_by_hand():
    rows = [
        TokenRow((1, 2, 3), ((4, 5), (), (6,)), key=7),
        TokenRow((8,), ((9,),), key=8),
        TokenRow((1, 2), (), key=9),
    ]
    batch = lay_out(rows, (4, 0, 2), PAD, CPU)
    assert batch.input_ids.tolist() == [
        [1, 2, 3, 4, 5, 6],
        [PAD, PAD, 8, 9, PAD, PAD],
        [PAD, 1, 2, PAD, PAD, PAD],
    ]
    assert batch.tokens.pos.tolist() == [
        [0, 1, 2, 3, 4, 3],
        [-1, -1, 0, 1, -1, -1],
        [-1, 0, 1, -1, -1, -1],
    ]
    assert batch.branch.tolist() == [
        [0, 0, 0, 1, 1, 3],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert batch.position_ids.tolist()[1] == [0, 0, 0, 1, 0, 0]
    assert batch.attention_mask.tolist()[1] == [0, 0, 1, 1, 0, 0]
    assert batch.tokens.keys.tolist() == [7, 8, 9]
    assert batch.tokens.n_prompt.tolist() == [3, 1, 2]
    assert (batch.n_prompt, batch.n_columns, batch.indices) == (3, 6, (4, 0, 2))
    assert batch.padded and batch.branched
    assert batch.renumbered((1, 2, 3)).indices == (1, 2, 3)


def test_a_shared_prefix_keeps_the_first_columns():
    rows = [TokenRow((1, 2, 3, 4, 5), ((6,),)), TokenRow((1, 2, 7))]
    batch = lay_out(rows, (0, 1), PAD, CPU, n_shared=2)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6], [1, 2, PAD, PAD, 7, PAD]]
    assert batch.tokens.pos.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, -1, -1, 2, -1]]
    assert batch.n_prompt == 5
    without = lay_out(rows, (0, 1), PAD, CPU)
    assert without.input_ids[1].tolist() == [PAD, PAD, 1, 2, 7, PAD]  # control


@pytest.mark.parametrize(
    ("rows", "padded", "branched"),
    [
        ([TokenRow((1, 2)), TokenRow((3, 4))], False, False),
        ([TokenRow((1, 2), ((5, 6),)), TokenRow((3, 4), ((7,),))], False, False),
        ([TokenRow((1, 2)), TokenRow((3,))], True, False),
        ([TokenRow((1, 2), ((5,), ()))], False, False),
        ([TokenRow((1, 2), ((5,), (6,)))], False, True),
    ],
)
def test_a_batch_knows_whether_it_is_padded_and_branched(rows, padded, branched):
    batch = lay_out(rows, range(len(rows)), PAD, CPU)
    assert (batch.padded, batch.branched) == (padded, branched)


def test_lengths_of_a_row():
    row = TokenRow((1, 2, 3), ((4, 5), (), (6,)))
    assert (len(row), row.longest) == (6, 5)
    assert (len(TokenRow((1, 2))), TokenRow((1, 2)).longest) == (2, 2)


def read_back(batch: Batch, line: int, n_continuations: int) -> TokenRow:
    """Find a row in a batch by its branches and positions alone."""

    def text(branch: int) -> tuple[int, ...]:
        here = (batch.branch[line] == branch) & (batch.tokens.pos[line] >= 0)
        order = batch.tokens.pos[line][here].argsort()
        assert order.tolist() == list(range(len(order)))  # columns are in the order of the text
        return tuple(batch.input_ids[line][here].tolist())

    continuations = tuple(text(number) for number in range(1, n_continuations + 1))
    return TokenRow(text(0), continuations, int(batch.tokens.keys[line]))


@given(st.lists(fields, min_size=1, max_size=4))
def test_rows_can_be_read_back(of_rows):
    rows = [TokenRow(*of_row) for of_row in of_rows]
    batch = lay_out(rows, range(len(rows)), PAD, CPU)
    for line, row in enumerate(rows):
        assert read_back(batch, line, len(row.continuations)) == row
        assert batch.tokens.pos[line, batch.n_prompt - 1] == len(row.prompt) - 1
        for number, one in enumerate(row.continuations, 1):
            pos = batch.tokens.pos[line][batch.branch[line] == number].tolist()
            assert pos == [len(row.prompt) + step for step in range(len(one))]


@given(st.lists(fields, min_size=1, max_size=8), st.integers(1, 40))
def test_every_row_is_in_one_batch_and_batches_hold_so_many_tokens(of_rows, most):
    rows = [TokenRow(*of_row) for of_row in of_rows]
    batches = list(make_batches(rows, tokens_per_batch=most, pad=PAD, device=CPU))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(rows)))
    for batch in batches:
        lengths = [len(rows[index]) for index in batch.indices]
        assert len(lengths) == 1 or len(lengths) * max(lengths) <= most
        for line, index in enumerate(batch.indices):
            n = len(rows[index].continuations)
            assert read_back(batch, line, n) == rows[index]
    lengths = [len(rows[index]) for batch in batches for index in batch.indices]
    assert lengths == sorted(lengths, reverse=True)  # the longest first
