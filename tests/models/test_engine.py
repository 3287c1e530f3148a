"""Many edits in shared passes give what the model's own forward pass gives, and cost no more."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import get_args

import pytest
import torch
from tiny import FAMILIES, N_LAYERS, build, subject
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unmask.edits import (
    NO_EDIT,
    AblateDirection,
    ActivationEdit,
    AddVector,
    Edit,
    Positions,
    ResidualNoise,
    Site,
    Stream,
)
from unmask.errors import SettingError
from unmask.models import engine as engine_module
from unmask.models.applying import tensor_of
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder
from unmask.models.planner import shared_prefix
from unmask.models.scoring import plan, score

every_family = pytest.mark.parametrize("family", list(FAMILIES))
every_packing = pytest.mark.parametrize("packing", [None, "rows", "tree"])
PREFIX = tuple(range(5, 30))
STREAMS = get_args(Stream)
POSITIONS = get_args(Positions)


@dataclass(eq=False)
class Double(ActivationEdit):
    """An edit that was not made to be stacked with others."""

    site: Site

    def change(self, acts, tokens):
        return 2 * acts


@dataclass(eq=False)
class Broken(ActivationEdit):
    site: Site

    def change(self, acts, tokens):
        raise RuntimeError("broken edit")


def vector(d_model: int, scale: float = 3.0) -> Tensor:
    # Not the same in every component: a LayerNorm would take that away.
    return torch.linspace(-scale, scale, d_model)


def make_rows(decoder: Decoder, prefix: tuple[int, ...] = ()) -> list[TokenRow]:
    """Prompts of several lengths, with none to four continuations of several lengths."""
    rows = [
        TokenRow((*prefix, *range(40, 53)), ((5, 9, 40), (7,), (), (8, 8)), 11),
        TokenRow((*prefix, 60, 61), ((7,), (4, 3)), 12),
        TokenRow((*prefix, *range(70, 77)), (), 13),
    ]
    if decoder.packs:
        return rows
    return [replace(row, continuations=row.continuations[:1]) for row in rows]


def edits_everywhere(s) -> list[Edit]:
    """At every layer and stream two kinds of position in turn; unedited first, two layers last."""
    sites = [
        Site(layer, STREAMS[stream], positions)
        for layer in range(s.n_layers)
        for stream in range(len(STREAMS))
        for positions in POSITIONS[(layer + stream) % 2 :: 2]
    ]
    return [
        NO_EDIT,
        *(AddVector(site, vector(s.d_model)) + ResidualNoise(site, 0.5, seed=1) for site in sites),
        AddVector(Site(0), vector(s.d_model)) + ResidualNoise(Site(2, "mlp_out"), 0.3, seed=2),
    ]


def in_full(decoder: Decoder, rows: Sequence[TokenRow], edit: Edit) -> list[Tensor]:
    """Reference: each prompt with each of its continuations as a row of a plain forward pass."""
    texts = [
        (index, TokenRow(row.prompt, (one,), row.key))
        for index, row in enumerate(rows)
        for one in row.continuations or ((),)
    ]
    batch = lay_out([text for _, text in texts], range(len(texts)), 0, decoder.device)
    hidden = decoder.full(batch, edit)[:, batch.n_prompt - 1 :]
    found: list[list[Tensor]] = [[] for _ in rows]
    for (index, text), of_text in zip(texts, hidden, strict=True):
        n_after = len(text) - len(text.prompt)
        found[index].append(of_text[1 if found[index] else 0 : 1 + n_after])
    return [torch.cat(some) for some in found]


def in_engine(
    engine: Engine, rows: Sequence[TokenRow], edits: Sequence[Edit]
) -> list[list[Tensor]]:
    """What the engine gives for each edit and row: the prompt's last token and those after it."""
    found: list[dict[int, Tensor]] = [{} for _ in edits]

    def read(number: int, batch: Batch, hidden: Tensor) -> None:
        for index, of_row in zip(batch.indices, hidden, strict=True):
            assert index not in found[number], "read twice"
            row = rows[index]
            found[number][index] = of_row[: 1 + len(row) - len(row.prompt)]

    engine.under(rows, edits, read)
    return [[some[index] for index in range(len(rows))] for some in found]


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance=1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def distance(found: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference, relative to the largest value."""
    return max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, other, strict=True)
    )


@contextmanager
def tokens_through(decoder: Decoder) -> Iterator[Counter]:
    """Count the tokens that go through each block's MLP: those for which it is run to its end."""
    counted: Counter = Counter()

    def count(layer: int):
        def hook(_, __, output) -> None:
            counted[layer] += tensor_of(output).numel() // decoder.d_model

        return hook

    handles = [
        decoder.sublayers(layer)["mlp_out"].register_forward_hook(count(layer))
        for layer in range(decoder.n_layers)
    ]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()


@functools.cache
def expected_everywhere(family: str, prefix: tuple[int, ...]) -> list[list[Tensor]]:
    s = subject(family)
    return [in_full(s.decoder, make_rows(s.decoder, prefix), e) for e in edits_everywhere(s)]


@every_family
def test_the_reference_does_not_depend_on_padding(family):
    s = subject(family)
    rows = make_rows(s.decoder)
    assert len({len(row.prompt) for row in rows}) > 1  # so there is padding
    for edit in edits_everywhere(s)[::12]:
        together = in_full(s.decoder, rows, edit)
        for row, of_row in zip(rows, together, strict=True):
            alone = [
                in_full(s.decoder, [replace(row, continuations=(one,))], edit)[0]
                for one in row.continuations or ((),)
            ]
            assert_same([of_row], [torch.cat([alone[0][:1], *(one[1:] for one in alone)])])


@every_family
@pytest.mark.parametrize(("packing", "prefix"), [("rows", ()), ("tree", PREFIX)], ids=str)
def test_edits_at_every_site_equal_a_full_pass(family, packing, prefix):
    s = subject(family)
    if packing == "tree" and not s.decoder.packs:
        pytest.skip("rows of this family cannot be packed")
    rows, edits = make_rows(s.decoder, prefix), edits_everywhere(s)
    assert shared_prefix(rows) == len(prefix)
    expected = expected_everywhere(family, prefix)
    engine = Engine(s.decoder, pad=s.pad)
    engine.packing = packing
    for number, found in enumerate(in_engine(engine, rows, edits)):
        assert_same(found, expected[number])
        # Control: the edit does something to the first row, which has tokens at every position.
        assert number == 0 or distance(expected[number][:1], expected[0][:1]) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt-neo", "openai-gpt"])
@pytest.mark.parametrize("tokens_per_batch", [1, 40, 2048])
def test_batch_size_and_order_of_edits_do_not_matter(family, tokens_per_batch):
    s = subject(family)
    prompts = ((*PREFIX, 60, 61, 62), (*PREFIX, *range(70, 79)), (*PREFIX, 31))
    choices = ((5,), (7, 8), (9, 40, 3))
    readings = [
        reading
        for key, prompt in enumerate(prompts)
        for reading in plan(prompt, choices, key, s.decoder.packs)
    ]
    edits = edits_everywhere(s)[::5]
    expected = score(Engine(s.decoder, pad=s.pad), readings, edits)
    assert len({answers[0].log_probs for answers in expected}) > len(edits) // 2
    engine = Engine(s.decoder, pad=s.pad, tokens_per_batch=tokens_per_batch)
    backwards = score(engine, readings[::-1], edits[::-1])
    for answers, others in zip(expected, backwards[::-1], strict=True):
        for answer, other in zip(answers, others[::-1], strict=True):
            assert [choice for choice, _ in answer.log_probs] == [c for c, _ in other.log_probs]
            values, again = (torch.tensor([p for _, p in a.log_probs]) for a in (answer, other))
            assert (values - again).abs().max() <= 1e-5 * values.abs().max()


@every_packing
def test_one_edit_shared_by_copies_and_different_edits_agree_with_each_alone(packing):
    s = subject("gemma2")
    rows = make_rows(s.decoder)
    engine = Engine(s.decoder, pad=s.pad)
    engine.packing = packing
    common = ResidualNoise(Site(1, "attn_out", "last"), 0.5, seed=3)
    own = [AddVector(Site(1, "resid_post", "answer"), vector(s.d_model, k)) for k in (1, 2, 3, 4)]
    edits = [*(common + one for one in own), *([common] * 3)]
    together = in_engine(engine, rows, edits)
    for edit, found in zip(edits, together, strict=True):
        assert_same(found, in_engine(engine, rows, [edit])[0])
        assert_same(found, in_full(s.decoder, rows, edit))
    assert distance(together[0], together[1]) > 1e-3  # the vectors were different


@every_family
def test_edits_that_cannot_be_stacked_mix_with_others(family):
    s = subject(family)
    rows = make_rows(s.decoder)
    engine = Engine(s.decoder, pad=s.pad)
    for site in (Site(1, "mlp_out", "last"), Site(0), Site(2, "resid_pre", "answer")):
        ablate = AblateDirection(site, vector(s.d_model))
        add = AddVector(site, vector(s.d_model))
        edits = [
            ablate, add, NO_EDIT, Double(site), add + Double(site), Double(site) + add, add, ablate,
        ]  # fmt: skip
        found = in_engine(engine, rows, edits)
        for edit, of_edit in zip(edits, found, strict=True):
            assert_same(of_edit, in_full(s.decoder, rows, edit))
        assert distance(found[4], found[5]) > 1e-3  # the order within an edit counts


@every_family
@pytest.mark.parametrize("fresh", ["token", "sequence", "run"])
def test_noise_is_the_same_in_a_tree_and_in_rows(family, fresh):
    s = subject(family)
    if not s.decoder.packs:
        pytest.skip("rows of this family cannot be packed")
    rows = make_rows(s.decoder)
    site = Site(1, "resid_pre", "answer")
    edits = [ResidualNoise(site, 0.5, seed, "positive", fresh) for seed in range(3)]
    found = {}
    for packing in ("rows", "tree"):
        engine = Engine(s.decoder, pad=s.pad)
        engine.packing = packing
        found[packing] = in_engine(engine, rows, edits)
    for tree, in_rows in zip(found["tree"], found["rows"], strict=True):
        assert_same(tree, in_rows)
    assert distance(found["tree"][0][:2], found["tree"][1][:2]) > 1e-3  # other seed, other noise


@every_family
def test_a_broken_edit_leaves_no_hook_and_no_replaced_forward(family):
    s = subject(family)
    rows = make_rows(s.decoder)
    engine = Engine(s.decoder, pad=s.pad)
    before = in_engine(engine, rows, [NO_EDIT])[0]
    buffers = {name: id(buffer) for name, buffer in s.model.named_buffers()}
    for stream in STREAMS:
        for layer, positions in ((1, "all"), (s.n_layers - 1, "last")):
            edit = AddVector(Site(0), vector(s.d_model)) + Broken(Site(layer, stream, positions))
            with pytest.raises(RuntimeError, match="broken edit"):
                in_engine(engine, rows, [NO_EDIT, edit])
    assert_untouched(s.model)
    assert {name: id(buffer) for name, buffer in s.model.named_buffers()} == buffers
    for found, expected in zip(in_engine(engine, rows, [NO_EDIT])[0], before, strict=True):
        assert torch.equal(found, expected)


def assert_untouched(model: nn.Module) -> None:
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)


@every_packing
def test_a_layer_that_is_not_there_is_an_error_before_anything_runs(packing):
    s = subject()
    engine = Engine(s.decoder, pad=s.pad)
    engine.packing = packing
    edits = [NO_EDIT, AddVector(Site(s.n_layers), vector(s.d_model))]
    with (
        tokens_through(s.decoder) as counted,
        pytest.raises(SettingError, match="expected a layer below 3 .*, got 3. Layers are counted"),
    ):
        in_engine(engine, make_rows(s.decoder), edits)
    assert not counted


def test_a_shared_prefix_is_run_once_for_all_batches(monkeypatch):
    s = subject()
    n_rows, n_own = 4, 5
    rows = [TokenRow((*PREFIX, *range(40 + k, 40 + k + n_own)), (), k) for k in range(n_rows)]
    edits = [
        NO_EDIT,
        AddVector(Site(1, "resid_post", "last"), vector(s.d_model)),
        AddVector(Site(1, "resid_post", "all"), vector(s.d_model)),
    ]
    engine = Engine(s.decoder, pad=s.pad, tokens_per_batch=2 * len(rows[0]))
    with tokens_through(s.decoder) as counted:
        found = in_engine(engine, rows, edits)
    assert counted[0] == len(PREFIX) + n_rows * n_own
    monkeypatch.setattr(engine_module, "shared_prefix", lambda rows: 0)
    with tokens_through(s.decoder) as counted:
        expected = in_engine(engine, rows, edits)
    assert counted[0] == n_rows * (len(PREFIX) + n_own)  # control
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("layer", "stream"), [(0, "resid_post"), (1, "attn_out"), (1, "mlp_out")])
def test_the_unedited_pass_stops_where_edits_of_all_positions_begin(layer, stream):
    s = subject()
    rows = [TokenRow(tuple(range(40, 50)), ((3, 4),), k) for k in range(2)]
    edits = [AddVector(Site(layer, stream), vector(s.d_model, k)) for k in (1, 2, 3)]
    engine = Engine(s.decoder, pad=s.pad)
    with tokens_through(s.decoder) as counted:
        in_engine(engine, rows, edits)
    n_tokens, n_read = 2 * 12, 2 * 3
    assert counted == {0: n_tokens, 1: 3 * n_tokens, 2: 3 * n_read}
    with tokens_through(s.decoder) as counted:
        in_engine(engine, rows, [NO_EDIT, *edits])
    assert counted == {0: n_tokens, 1: 4 * n_tokens, 2: 4 * n_read}  # control: it goes on


@every_packing
@pytest.mark.parametrize(("positions", "n_columns"), [("last", 3), ("answer", 2)])
def test_blocks_below_an_edit_and_columns_before_it_are_not_run_again(
    packing, positions, n_columns
):
    s = subject()
    rows = [TokenRow(tuple(range(40, 50)), ((3, 4),), k) for k in range(2)]
    edits = [AddVector(Site(1, "resid_pre", positions), vector(s.d_model, k)) for k in range(1, 6)]
    engine = Engine(s.decoder, pad=s.pad)
    engine.packing = packing
    with tokens_through(s.decoder) as counted:
        found = in_engine(engine, rows, edits)
    again = 5 * 2 * n_columns
    # Edits of the answer leave what is read at the prompt's last token: the unedited pass's.
    unedited = 2 * 3 if positions == "answer" else 0
    assert counted == {0: 2 * 12, 1: 2 * 12 + again, 2: unedited + again}
    assert distance(found[0], found[1]) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3-moe", "gpt2", "gpt-neo"])
@pytest.mark.parametrize("packing", ["rows", "tree"])
def test_packing_in_bfloat16_moves_log_probabilities_little(family, packing):
    decoder = checked(Decoder(build(family, initializer_range=0.1).to(torch.bfloat16)))
    assert decoder.exact and decoder.packs
    engine = Engine(decoder)
    engine.packing = packing
    rows = make_rows(decoder)
    site = Site(1, "resid_pre", "last")
    edits = [AddVector(site, vector(decoder.d_model, k)) for k in (1, 2)]
    found = in_engine(engine, rows, [NO_EDIT, *edits])
    for edit, of_edit in zip([NO_EDIT, *edits], found, strict=True):
        expected = in_full(decoder, rows, edit)
        for one, other, plain in zip(of_edit, expected, found[0], strict=True):
            assert one.dtype == torch.bfloat16
            scores, full, unedited = (decoder.logits(x) for x in (one, other, plain))
            assert scores.dtype == torch.float32
            scores, full, unedited = (x.log_softmax(-1) for x in (scores, full, unedited))
            assert (scores - full).abs().max() < 0.05
            # Control: the edit moves them by more than rounding does.
            assert edit is NO_EDIT or (scores - unedited).abs().max() > 0.1


@pytest.mark.parametrize("block", range(1, N_LAYERS + 2))
def test_matrix_products_of_an_edit_at_the_last_token_are_those_of_one_token(block):
    n_layers, n_prompt = 4, 20
    decoder = checked(Decoder(build("llama", num_hidden_layers=n_layers)))
    row = TokenRow(tuple(range(40, 40 + n_prompt)))
    weights = {name: w.numel() for name, w in decoder.blocks[0].named_parameters() if w.ndim > 1}
    of_block = 2 * sum(weights.values())
    of_keys = 2 * (weights["self_attn.k_proj.weight"] + weights["self_attn.v_proj.weight"])

    def products(n_edits: int) -> int:
        site = Site(block - 1, "resid_post", "last")
        edits = [AddVector(site, vector(decoder.d_model, k)) for k in range(1, n_edits + 1)]
        with FlopCounterMode(display=False) as counter:
            in_engine(Engine(decoder), [row], edits)
        counts = counter.get_flop_counts()["Global"]
        return sum(counts.get(op, 0) for op in (torch.ops.aten.mm, torch.ops.aten.addmm))

    if block == n_layers:  # after the last block nothing is run again
        unedited = n_prompt * ((n_layers - 1) * of_block + of_keys) + of_block
    else:
        unedited = n_prompt * ((n_layers - 1) * of_block + of_keys)
    for n_edits in (1, 2, 7, 40):
        edited = n_edits * (n_layers - block) * of_block
        assert products(n_edits) == unedited + edited
