"""A plan holds what its edits can change and no more."""

import pytest
import torch
from tiny import D_MODEL, build, subject

from unmask.edits import NO_EDIT, AddVector, Edit, Positions, Site, Stream
from unmask.errors import SettingError
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.forward import Decoder
from unmask.models.planner import Plan, costs, first_column, make_plan, shared_prefix

N_PROMPT, N_AFTER, N_ROWS = 10, 2, 3


def make_batch(n_after: int = N_AFTER) -> Batch:
    after = (tuple(range(n_after)),) if n_after else ()
    rows = [TokenRow(tuple(range(40, 40 + N_PROMPT)), after, key) for key in range(N_ROWS)]
    return lay_out(rows, range(N_ROWS), 0, torch.device("cpu"))


def at(layer: int, stream: Stream = "resid_pre", positions: Positions = "all") -> AddVector:
    return AddVector(Site(layer, stream, positions), torch.ones(D_MODEL))


def planned(*edits: Edit, batch: Batch | None = None, tokens: int = 1 << 20, **forced) -> Plan:
    numbered = list(enumerate(edits))
    return make_plan(subject().decoder, batch or make_batch(), numbered, tokens, **forced)


def places(plan: Plan) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(group.block, group.column, group.numbers) for group in plan.groups]


def test_edits_that_begin_at_one_block_and_column_share_a_pass():
    plan = planned(
        at(1),
        at(1, "attn_out", "last"),
        at(0, "resid_post", "prompt"),  # enters block 1, too
        at(2),
        at(1, "mlp_out", "last"),
        NO_EDIT,
        at(1, "resid_pre", "answer"),
    )
    assert plan.unedited == (5,)
    assert places(plan) == [
        (1, 0, (0, 2)),
        (1, N_PROMPT - 1, (1, 4)),
        (2, 0, (3,)),
        (1, N_PROMPT, (6,)),
    ]


def test_an_edit_of_two_sites_begins_at_the_lowest_block_and_the_first_column():
    plan = planned(at(2, "resid_pre", "last") + at(0, "resid_post", "answer"))
    assert places(plan) == [(1, N_PROMPT - 1, (0,))]
    assert places(planned(at(2) + at(0, "resid_post", "answer"))) == [(1, 0, (0,))]


@pytest.mark.parametrize(
    ("positions", "column"),
    [("all", 0), ("prompt", 0), ("last", N_PROMPT - 1), ("answer", N_PROMPT)],
)
def test_the_first_column_is_that_of_the_positions(positions, column):
    batch = make_batch()
    edit = at(1, "resid_pre", positions)
    assert first_column(subject().decoder, batch, edit) == column
    # A decoder without a cache starts every pass at column 0.
    assert first_column(subject("openai-gpt").decoder, batch, edit) == 0
    assert not batch.tokens.mask(positions)[:, :column].any()
    assert batch.tokens.mask(positions)[:, column].any()


@pytest.mark.parametrize("family", ["llama", "openai-gpt"])
def test_an_edit_of_answers_changes_nothing_where_there_are_none(family):
    decoder = subject(family).decoder
    batch = make_batch(n_after=0)
    edits = [(0, at(1, "resid_pre", "answer")), (1, NO_EDIT), (2, at(1, "resid_pre", "last"))]
    plan = make_plan(decoder, batch, edits, 1 << 20)
    assert plan.unedited == (0, 1)
    assert [group.numbers for group in plan.groups] == [(2,)]
    assert not make_plan(decoder, make_batch(), edits[:1], 1 << 20).unedited  # control


@pytest.mark.parametrize("packing", ["rows", "tree"])
@pytest.mark.parametrize(("tokens", "size"), [(1, 1), (36, 1), (72, 2), (107, 2), (108, 3)])
def test_passes_hold_at_most_so_many_tokens(packing, tokens, size):
    edits = [at(1) for _ in range(6)]
    n_tokens = N_ROWS * (N_PROMPT + N_AFTER)
    plan = planned(*edits, tokens=tokens, packing=packing)
    assert sorted(n for group in plan.groups for n in group.numbers) == list(range(6))
    assert max(len(group.numbers) for group in plan.groups) <= size
    assert size == 1 or size * n_tokens <= tokens
    if packing == "rows":  # a tree may be smaller: each copy attends to the others in vain
        assert [len(group.numbers) for group in plan.groups] == [size] * (6 // size)
    assert {group.packing for group in plan.groups} == {packing}


def test_copies_behind_the_prompt_stand_in_a_tree_and_whole_ones_in_rows():
    plan = planned(at(1), at(1, "resid_pre", "last"))
    assert [group.packing for group in plan.groups] == ["rows", "tree"]
    numbered = [(0, at(1)), (1, at(1, "resid_pre", "last"))]
    for group in make_plan(subject("openai-gpt").decoder, make_batch(), numbered, 1 << 20).groups:
        assert (group.packing, group.column) == ("rows", 0)


def test_the_tree_is_small_where_many_copies_would_attend_in_vain():
    edits = [at(1, "resid_pre", "last") for _ in range(1024)]
    sizes = [len(group.numbers) for group in planned(*edits).groups]
    assert sum(sizes) == 1024
    assert 1 < max(sizes) < 1024
    assert len({size for size in sizes[:-1]}) == 1


@pytest.mark.parametrize(
    ("edits", "resid", "keys", "final"),
    [
        # Everywhere: what enters the lowest block of each group, and no keys.
        ([at(1), at(1, "mlp_out")], {1: 0}, [], False),
        ([at(1), at(2)], {1: 0, 2: 0}, [], False),
        # The last token: from that column on, and keys of all blocks from there.
        ([at(1, "resid_pre", "last")], {1: N_PROMPT - 1}, [1, 2], False),
        ([at(1, "resid_pre", "last"), at(1)], {1: 0}, [1, 2], False),
        ([at(0), at(2, "resid_pre", "last")], {0: 0, 2: N_PROMPT - 1}, [2], False),
        # The answer: the prompt's last token is read as it is.
        ([at(2, "resid_pre", "answer")], {2: N_PROMPT}, [2], True),
        # After the last block: what is read, and no block again.
        ([at(2, "resid_post", "last")], {3: N_PROMPT - 1}, [], True),
        ([at(2, "resid_post", "all")], {3: N_PROMPT - 1}, [], True),
        ([NO_EDIT], {}, [], True),
        ([at(1), NO_EDIT], {1: 0}, [], True),
    ],
)  # fmt: skip
def test_the_unedited_pass_keeps_what_edits_need_and_no_more(edits, resid, keys, final):
    needs = planned(*edits).needs
    assert dict(needs.resid) == resid
    assert list(needs.keys) == keys
    assert needs.final is final


def test_a_layer_that_is_not_there_is_an_error():
    with pytest.raises(SettingError, match="expected a layer below 3 .*, got 3"):
        planned(at(0), at(3))


def test_costs_are_those_of_a_block_s_matrices():
    decoder = Decoder(build("llama"))
    block = decoder.blocks[0]
    matrices = sum(w.numel() for name, w in block.named_parameters() if "proj" in name)
    assert costs(decoder).per_token == 2 * matrices
    few, many = (costs(decoder).of_pass(1, queries, 50) for queries in (1, 2))
    assert few < many < 2 * few  # small passes cost about the same
    few, many = (costs(decoder).of_pass(1, queries, 50) for queries in (1000, 2000))
    assert many == pytest.approx(2 * few, rel=0.05)


def prompts(*prompts: tuple[int, ...]) -> list[TokenRow]:
    return [TokenRow(prompt) for prompt in prompts]


@pytest.mark.parametrize("n", [16, 17, 40])
def test_a_prefix_that_all_prompts_share_is_found(n):
    prefix = tuple(range(n))
    assert shared_prefix(prompts((*prefix, 91, 1), (*prefix, 92), (*prefix, 91, 2, 3))) == n


def test_at_least_one_token_of_each_prompt_is_left():
    prefix = tuple(range(20))
    assert shared_prefix(prompts(prefix, prefix)) == 19
    assert shared_prefix(prompts(prefix, (*prefix, 1, 2))) == 19
    assert shared_prefix(prompts(prefix[:17], prefix)) == 16
    assert shared_prefix(prompts(prefix[:16], prefix)) == 0


def test_a_prefix_that_is_not_worth_it_is_left_alone():
    assert shared_prefix(prompts((*range(15), 91), (*range(15), 92))) == 0  # too short
    long = tuple(range(100, 148))
    assert shared_prefix(prompts((*range(16), 91, *long[1:]), (*range(16), *long))) == 16
    longer = (*long, 1)  # less than a quarter
    assert shared_prefix(prompts((*range(16), 91, *longer[1:]), (*range(16), *longer))) == 0
    assert shared_prefix(prompts(tuple(range(50)))) == 0  # one prompt shares with nobody
    assert shared_prefix([]) == 0


def test_continuations_do_not_count_as_prefix():
    prompt = tuple(range(20))
    rows = [TokenRow(prompt, ((1, 2, 3),)), TokenRow(prompt, ((1, 2, 3),))]
    assert shared_prefix(rows) == 19
