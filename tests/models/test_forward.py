"""Replay equals the model's own forward pass, and an edit changes its site and nothing else."""

from dataclasses import dataclass, field
from typing import get_args

import pytest
import torch
from tiny import FAMILIES, build, subject
from torch import nn

from unmask.edits import NO_EDIT, ActivationEdit, AddVector, Positions, ResidualNoise, Site, Stream
from unmask.errors import SettingError, SubjectError
from unmask.models import families
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.check import checked
from unmask.models.forward import Decoder
from unmask.models.passes import Needs, clean, edited, whole
from unmask.models.planner import first_column

pytestmark = pytest.mark.parametrize("family", list(FAMILIES))
KEYS = (11, 12, 13)
STREAMS = get_args(Stream)


def padded_batch(s) -> Batch:
    """Three rows of unequal lengths, two of them with an answer."""
    rows = [
        TokenRow(s.encode("Which letter?"), ((5, 9, 40),), KEYS[0]),
        TokenRow(s.encode("No"), ((7,),), KEYS[1]),
        TokenRow(s.encode("Answer the"), (), KEYS[2]),
    ]
    return lay_out(rows, (0, 1, 2), s.pad, torch.device("cpu"))


@dataclass(eq=False)
class Capture(ActivationEdit):
    """Changes nothing and keeps what passes."""

    site: Site
    seen: list = field(default_factory=list)

    def change(self, acts, tokens):
        return acts

    def apply(self, acts, tokens):
        self.seen.append(acts)
        return acts


@dataclass(eq=False)
class Zero(ActivationEdit):
    site: Site

    def change(self, acts, tokens):
        return torch.zeros_like(acts)


@dataclass(eq=False)
class OneRow(ActivationEdit):
    """Shifts the tokens of the row with one key."""

    site: Site
    key: int

    def change(self, acts, tokens):
        # Not the same in every component: a LayerNorm would take that away.
        shift = torch.linspace(-3, 3, acts.shape[-1])
        return acts + (tokens.keys == self.key)[:, None, None] * shift


def streams(s, batch, edit=NO_EDIT, names=STREAMS) -> dict[tuple[int, str], torch.Tensor]:
    """What stands at every layer and stream under an edit, in a full pass."""
    probes = [Capture(Site(layer, name)) for layer in range(s.n_layers) for name in names]
    for probe in probes:
        edit = edit + probe
    s.decoder.full(batch, edit)
    return {(p.site.layer, p.site.stream): p.seen[0] for p in probes}


def test_blocks_one_by_one_are_bit_exact_and_leave_no_hook(family):
    decoder = checked(Decoder(build(family)))
    assert decoder.exact is True
    assert decoder.packs is (family != "openai-gpt")
    s = subject(family)
    batch = padded_batch(s)
    real = batch.tokens.pos >= 0
    expected = s.decoder.full(batch, NO_EDIT)[real]
    run, hidden = whole(s.decoder, batch)
    assert not torch.equal(hidden[real], expected)
    assert torch.equal(run.through(hidden, range(s.n_layers))[real], expected)
    assert_untouched(s.model)


def assert_untouched(model: nn.Module) -> None:
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)


def resumed(s, batch, edit) -> torch.Tensor:
    """What leaves the last block where it is read, from the first block that the edit changes."""
    column = first_column(s.decoder, batch, edit)
    block = min(part.site.first_block for part in edit.activations)
    if column == batch.n_columns:
        return clean(s.decoder, batch, Needs()).final
    keys = range(block, s.n_layers) if column else range(0)
    done = clean(s.decoder, batch, Needs({block: column}, keys))
    return edited(s.decoder, done, [edit.activations], block, column)[0].final


def test_logits_equal_the_model_s_own(family):
    s = subject(family)
    batch = padded_batch(s)
    with torch.no_grad():
        expected = s.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        ).logits
    real = batch.tokens.pos >= 0
    found = s.decoder.logits(s.decoder.full(batch, NO_EDIT))
    assert expected[real].std() > 0.1
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_resuming_equals_a_full_pass_under_every_edit(family, stream):
    s = subject(family)
    batch = padded_batch(s)
    first_read = batch.n_prompt - 1
    read = (batch.tokens.pos >= 0)[:, first_read:]
    before = s.decoder.full(batch, NO_EDIT)
    vector = torch.linspace(-3, 3, s.d_model)
    edits = [
        AddVector(site, vector) + ResidualNoise(site, 0.5, seed=1)
        for layer in range(s.n_layers)
        for site in (Site(layer, stream, positions) for positions in get_args(Positions))
    ]
    last = Site(s.n_layers - 1, stream)
    edits.append(AddVector(Site(0), vector) + ResidualNoise(last, 0.3, seed=2))
    for edit in edits:
        full = s.decoder.full(batch, edit)
        expected = full[:, first_read:][read]
        tolerance = 1e-5 * max(1.0, expected.abs().max().item())
        found = resumed(s, batch, edit)[read]
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        # Control: the edit did something to the tokens it names.
        mask = batch.tokens.mask(edit.activations[0].site.positions)
        assert (full - before).abs().amax(-1)[mask].max() > 1e-2
    assert_untouched(s.model)


@pytest.mark.parametrize("positions", get_args(Positions))
def test_an_edit_changes_its_site_and_nothing_before_it(family, positions):
    s = subject(family)
    batch = padded_batch(s)
    mask = batch.tokens.mask(positions)
    real = batch.tokens.pos >= 0
    after_first = (mask.cumsum(1) > 0) & real  # tokens that can see an edited one
    before = streams(s, batch)
    order = STREAMS
    for layer in range(s.n_layers):
        for stream in order:
            vector = torch.linspace(-2, 2, s.d_model)
            edit = AddVector(Site(layer, stream, positions), vector)
            edited = streams(s, batch, edit)
            here = edited[layer, stream] - before[layer, stream]
            torch.testing.assert_close(here[mask], vector.expand_as(here[mask]), atol=1e-4, rtol=0)
            assert not here[~mask].any()
            for place, acts in before.items():
                if place[0] < layer or (place[0] == layer and place[1] == "resid_pre" != stream):
                    assert torch.equal(edited[place], acts), place
                torch.testing.assert_close(
                    edited[place][real & ~after_first], acts[real & ~after_first], rtol=0, atol=1e-5
                )
            last = edited[s.n_layers - 1, "resid_post"] - before[s.n_layers - 1, "resid_post"]
            assert last[mask].abs().max() > 1e-2


def test_rows_do_not_influence_each_other(family):
    s = subject(family)
    batch = padded_batch(s)
    before = s.decoder.full(batch, NO_EDIT)
    after = s.decoder.full(batch, OneRow(Site(1, "attn_out"), KEYS[1]))
    real = batch.tokens.pos >= 0
    assert (after - before)[1][real[1]].abs().max() > 0.1
    assert torch.equal(after[0][real[0]], before[0][real[0]])
    assert torch.equal(after[2][real[2]], before[2][real[2]])


def test_sublayer_outputs_are_what_is_added_to_the_residual(family):
    s = subject(family)
    batch = padded_batch(s)
    real = batch.tokens.pos >= 0
    found = streams(s, batch)
    for layer in range(s.n_layers):
        pre, attn, mlp, post = (found[layer, name][real] for name in STREAMS)
        assert attn.abs().max() > 0.1 and mlp.abs().max() > 0.1
        if family == "openai-gpt":  # norms stand on the stream itself
            block = s.decoder.blocks[layer]
            with torch.no_grad():
                expected = block.ln_2(block.ln_1(pre + attn) + mlp)
        else:
            expected = pre + attn + mlp
        torch.testing.assert_close(post, expected, rtol=1e-5, atol=1e-4)
        if layer + 1 < s.n_layers:
            assert torch.equal(found[layer, "resid_post"], found[layer + 1, "resid_pre"])


def test_without_its_sublayers_a_block_is_the_identity(family):
    if family == "openai-gpt":
        pytest.skip("its norms stand on the residual stream")
    s = subject(family)
    batch = padded_batch(s)
    real = batch.tokens.pos >= 0
    assert not torch.equal(*both_sides(s, batch, NO_EDIT, real))
    ablated = Zero(Site(1, "attn_out")) + Zero(Site(1, "mlp_out"))
    torch.testing.assert_close(*both_sides(s, batch, ablated, real), rtol=0, atol=0)


def both_sides(s, batch, edit, real):
    found = streams(s, batch, edit, ("resid_pre", "resid_post"))
    return found[1, "resid_pre"][real], found[1, "resid_post"][real]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_layer_that_is_not_there_is_an_error(family, stream):
    s = subject(family)
    batch = padded_batch(s)
    for layer in (s.n_layers, s.n_layers + 3):
        edit = AddVector(Site(layer, stream), torch.ones(s.d_model))
        message = f"expected a layer below {s.n_layers} .*, got {layer}. Layers are counted"
        with pytest.raises(SettingError, match=message):
            s.engine.under([TokenRow((1, 2))], [edit], lambda *_: None)
        with pytest.raises(SettingError, match=message):
            s.decoder.full(batch, edit)


def test_a_broken_edit_leaves_no_hook(family):
    @dataclass(eq=False)
    class Broken(ActivationEdit):
        site: Site

        def change(self, acts, tokens):
            raise RuntimeError("broken edit")

    s = subject(family)
    batch = padded_batch(s)
    before = s.decoder.full(batch, NO_EDIT)
    for stream in STREAMS:
        edit = AddVector(Site(0), torch.ones(s.d_model)) + Broken(Site(1, stream))
        for run in (resumed, lambda s, batch, edit: s.decoder.full(batch, edit)):
            with pytest.raises(RuntimeError, match="broken edit"):
                run(s, batch, edit)
    assert_untouched(s.model)
    assert torch.equal(s.decoder.full(batch, NO_EDIT), before)


def test_a_part_under_another_name_is_an_error(family, monkeypatch):
    name = type(subject(family).model).__name__
    wrong = families.Family("model.nothing", None, "attn", "mlp")
    monkeypatch.setitem(families.FAMILIES, name, wrong)
    with pytest.raises(SubjectError, match=f"expected {name} to have a part 'model.nothing'"):
        Decoder(build(family))
    inner = subject(family).model.base_model_prefix
    monkeypatch.setitem(families.FAMILIES, name, families.Family(inner, None, "attn", "mlp"))
    with pytest.raises(SubjectError, match="to be a list of blocks, got"):
        Decoder(build(family))
