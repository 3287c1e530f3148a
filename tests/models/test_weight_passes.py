"""Weights that are changed one block at a time give what a model gives that is changed at once."""

import re
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from tiny import D_MODEL, FAMILIES, build, subject
from torch import Tensor, nn

from unmask.edits import NO_EDIT, AddVector, Edit, Site, WeightNoise, edited_weights
from unmask.errors import SettingError
from unmask.models.applying import tensor_of
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder

every_family = pytest.mark.parametrize("family", list(FAMILIES))
VECTOR = torch.linspace(-3, 3, D_MODEL)


def make_rows() -> list[TokenRow]:
    return [
        TokenRow(tuple(range(40, 53)), ((5, 9, 40),), 11),
        TokenRow((60, 61), ((7,),), 12),
        TokenRow(tuple(range(70, 77)), (), 13),
    ]


def log_probs_in_engine(
    engine: Engine, rows: Sequence[TokenRow], edits: Sequence[Edit]
) -> list[list[Tensor]]:
    """Log-probabilities at the prompt's last token and those after it, by edit and row."""
    found: list[dict[int, Tensor]] = [{} for _ in edits]

    def read(number: int, batch: Batch, hidden: Tensor) -> None:
        logits = engine.decoder.logits(hidden).log_softmax(-1)
        for index, of_row in zip(batch.indices, logits, strict=True):
            assert index not in found[number], "read twice"
            found[number][index] = of_row[: 1 + len(rows[index]) - len(rows[index].prompt)]

    engine.under(rows, edits, read)
    return [[some[index] for index in range(len(rows))] for some in found]


def log_probs_at_once(decoder: Decoder, rows: Sequence[TokenRow], edit: Edit) -> list[Tensor]:
    """Reference: the whole model changed, and its own forward pass."""
    with edited_weights(decoder.model, edit.weights):
        batch = lay_out(rows, range(len(rows)), 0, decoder.device)
        hidden = decoder.full(batch, edit)[:, batch.n_prompt - 1 :]
        logits = decoder.logits(hidden).log_softmax(-1)
    return [
        of_row[: 1 + len(row) - len(row.prompt)] for row, of_row in zip(rows, logits, strict=True)
    ]


def assert_equals_at_once(
    decoder: Decoder, rows: Sequence[TokenRow], edits: Sequence[Edit], **limits: int
) -> None:
    unedited = log_probs_at_once(decoder, rows, NO_EDIT)
    found = log_probs_in_engine(Engine(decoder, **limits), rows, edits)
    for edit, of_edit in zip(edits, found, strict=True):
        expected = log_probs_at_once(decoder, rows, edit)
        for one, other, plain in zip(of_edit, expected, unedited, strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()
            # Control: the edit moves the result by far more.
            assert edit is NO_EDIT or (other - plain).abs().max() > 1e-3 * other.abs().max()


def make_edits() -> list[Edit]:
    return [
        WeightNoise(0.1, seed=1),
        WeightNoise(0.1, seed=2, size="absolute"),
        NO_EDIT,
        WeightNoise(0.1, seed=1) + AddVector(Site(1, "mlp_out"), VECTOR),
        AddVector(Site(0), VECTOR) + WeightNoise(0.2, 3) + WeightNoise(0.1, 4),
        AddVector(Site(0), VECTOR),
    ]


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_bits(model: nn.Module, before: dict[str, Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@every_family
def test_block_by_block_equals_the_whole_model_changed(family):
    decoder = subject(family).decoder
    before = copies(decoder.model)
    assert_equals_at_once(decoder, make_rows(), make_edits(), tokens_per_batch=20)
    assert_bits(decoder.model, before)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_tied_embeddings_are_changed_once_for_both_ends(family):
    decoder = checked(Decoder(build(family, tie_word_embeddings=True)))
    assert decoder.exact
    assert decoder.embedding.weight is decoder.unembedding.weight
    before = copies(decoder.model)
    only = WeightNoise(0.3, seed=5, match="embed_tokens|wte")
    assert_equals_at_once(decoder, make_rows(), [*make_edits(), only])
    assert_bits(decoder.model, before)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_model_that_cannot_run_block_by_block_gives_the_same(family):
    decoder = Decoder(build(family))
    decoder.exact = False
    before = copies(decoder.model)
    assert_equals_at_once(decoder, make_rows(), make_edits()[:4])
    assert_bits(decoder.model, before)


@every_family
@pytest.mark.parametrize("place", ["read", "block", "edit"])
def test_weights_are_restored_after_an_exception(family, place):
    decoder = subject(family).decoder
    before = copies(decoder.model)
    changed_at_failure: list[bool] = []

    def fail(*_: object) -> None:
        now = decoder.model.state_dict()
        changed_at_failure.append(any(not torch.equal(now[name], before[name]) for name in now))
        raise RuntimeError("broken")

    class Broken(AddVector):
        def change(self, acts, tokens):
            fail()
            return acts

    edit: Edit = WeightNoise(0.1, seed=1)
    if place == "edit":
        edit = edit + Broken(Site(1, "mlp_out"), VECTOR)
    handle = None
    if place == "block":
        handle = decoder.sublayers(1)["mlp_out"].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="broken"):
            Engine(decoder).under(make_rows(), [edit], fail)
    finally:
        if handle:
            handle.remove()
    assert changed_at_failure == [True]
    assert_bits(decoder.model, before)
    for module in decoder.model.modules():
        assert not module._forward_hooks and "forward" not in vars(module)


@every_family
def test_only_one_part_of_the_model_is_changed_at_a_time(family):
    decoder = subject(family).decoder
    before = copies(decoder.model)
    names = {id(weight): name for name, weight in decoder.model.named_parameters()}
    of_block = [{names[id(w)] for w in block.parameters()} for block in decoder.blocks]
    seen: Counter = Counter()

    def look(layer: int):
        def hook(_: object, __: object, output: object) -> None:
            now = decoder.model.state_dict()
            changed = {name for name in now if not torch.equal(now[name], before[name])}
            assert changed and changed <= of_block[layer]
            seen[layer] += 1

        return hook

    handles = [
        decoder.sublayers(layer)["mlp_out"].register_forward_hook(look(layer))
        for layer in range(decoder.n_layers)
    ]

    def read(number: int, batch: Batch, hidden: Tensor) -> None:
        now = decoder.model.state_dict()
        changed = {name for name in now if not torch.equal(now[name], before[name])}
        assert changed and not changed & set().union(*of_block)
        seen["read"] += 1

    edits = [WeightNoise(0.1, seed, "absolute") for seed in (1, 2)]
    try:
        Engine(decoder, tokens_per_batch=20).under(make_rows(), edits, read)
    finally:
        for handle in handles:
            handle.remove()
    n_batches = len(list(Engine(decoder, tokens_per_batch=20).batches(make_rows())))
    assert n_batches > 1
    assert seen == {where: 2 * n_batches for where in (*range(decoder.n_layers), "read")}


def block_names(decoder: Decoder, block: int) -> str:
    """A regular expression for the names of a block's parameters."""
    return rf"^{re.escape(decoder.family.blocks)}\.{block}\."


@every_family
def test_noise_on_one_block_runs_those_below_it_once_for_all_edits(family):
    decoder = subject(family).decoder
    last = decoder.n_layers - 1
    rows = [TokenRow(tuple(range(40 + k, 50 + k)), (), k) for k in range(2)]
    match = block_names(decoder, last)
    edits = [WeightNoise(0.5, seed, match=match) for seed in range(2)]
    counted: Counter = Counter()

    def count(layer: int):
        def hook(_: object, __: object, output: object) -> None:
            counted[layer] += tensor_of(output).numel() // decoder.d_model

        return hook

    handles = [
        decoder.sublayers(layer)["mlp_out"].register_forward_hook(count(layer))
        for layer in range(decoder.n_layers)
    ]
    try:
        log_probs_in_engine(Engine(decoder), rows, edits)
        once = dict(counted)
        counted.clear()
        log_probs_in_engine(Engine(decoder), rows, [WeightNoise(0.5, s) for s in range(2)])
    finally:
        for handle in handles:
            handle.remove()
    assert all(once[layer] == 20 for layer in range(last))
    assert all(counted[layer] == 2 * 20 for layer in range(last))  # control
    assert_equals_at_once(decoder, rows, edits)


@every_family
def test_parameters_whose_names_do_not_match_are_not_changed(family):
    decoder = subject(family).decoder
    before = copies(decoder.model)
    match = block_names(decoder, 1)
    with edited_weights(decoder.model, [WeightNoise(0.5, 1, "absolute", match)]):
        changed = {
            name
            for name, weight in decoder.model.named_parameters()
            if not torch.equal(weight, before[name])
        }
    names = {id(weight): name for name, weight in decoder.model.named_parameters()}
    assert changed == {names[id(weight)] for weight in decoder.blocks[1].parameters()}
    assert_bits(decoder.model, before)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_noise_on_any_part_equals_the_whole_model_changed(family):
    decoder = subject(family).decoder
    norm = decoder.family.norm
    parts = [block_names(decoder, block) for block in range(3)]
    parts += [rf"^{norm}", "lm_head", "embed_tokens|wte|wpe", "mlp"]
    # Absolute, since a norm may be nearly constant. gpt2's unembedding is its embedding.
    if family == "gpt2":
        parts.remove("lm_head")
    edits = [WeightNoise(0.5, 1, "absolute", part) for part in parts]
    mixed = [edits[1] + AddVector(Site(0, "attn_out"), VECTOR), NO_EDIT]
    assert_equals_at_once(decoder, make_rows(), [*edits, *mixed])


def test_noise_that_matches_nothing_changes_nothing():
    decoder = subject().decoder
    edits = [WeightNoise(0.5, 1, match="no such name"), NO_EDIT, WeightNoise(0.5, 1)]
    nothing, unedited, everything = log_probs_in_engine(Engine(decoder), make_rows(), edits)
    for one, other, third in zip(nothing, unedited, everything, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        assert (third - other).abs().max() > 1e-2


@pytest.mark.parametrize("match", ["(", "[a", "*"])
def test_a_bad_regular_expression_is_an_error(match):
    with pytest.raises(SettingError, match="expected a regular expression for parameter names"):
        WeightNoise(0.1, seed=1, match=match)
    with pytest.raises(SettingError, match=r"Escape its special characters, as in 'layers"):
        WeightNoise(0.1, seed=1, match=match)
    assert WeightNoise(0.1, seed=1, match=r"layers\.3\.").changes("model.layers.3.mlp")
    assert not WeightNoise(0.1, seed=1, match=r"layers\.3\.").changes("model.layers.13x.mlp")
