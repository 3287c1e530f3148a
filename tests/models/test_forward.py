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
from unmask.models.batch import Batch, TokenRow, pad_left
from unmask.models.forward import Decoder

pytestmark = pytest.mark.parametrize("family", list(FAMILIES))
KEYS = (11, 12, 13)
STREAMS = get_args(Stream)


def padded_batch(s) -> Batch:
    """Three rows of unequal lengths, two of them with an answer."""
    rows = [
        TokenRow(s.encode("Which letter?"), (5, 9, 40), KEYS[0]),
        TokenRow(s.encode("No"), (7,), KEYS[1]),
        TokenRow(s.encode("Answer the"), (), KEYS[2]),
    ]
    return pad_left(rows, (0, 1, 2), s.pad, torch.device("cpu"))


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


def test_replay_is_bit_exact_and_leaves_no_hook(family):
    s = subject(family)
    assert s.decoder.exact is True
    assert s.decoder.check() is True
    batch = padded_batch(s)
    clean = s.decoder.clean(batch)
    assert torch.equal(s.decoder.run(clean, NO_EDIT), s.decoder.full(batch, NO_EDIT))
    assert_no_hooks(s.model)


def assert_no_hooks(model: nn.Module) -> None:
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


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
    clean = s.decoder.clean(batch)
    kept = [resid.clone() for resid in clean.resid]
    vector = torch.linspace(-3, 3, s.d_model)
    for layer in range(s.n_layers):
        for positions in get_args(Positions):
            site = Site(layer, stream, positions)
            edit = AddVector(site, vector) + ResidualNoise(site, 0.5, seed=1)
            full = s.decoder.full(batch, edit)
            torch.testing.assert_close(s.decoder.run(clean, edit), full, rtol=0, atol=1e-5)
            # Control: the edit did something to the tokens it names.
            moved = (full - clean.resid[-1]).abs().amax(-1)
            assert moved[batch.tokens.mask(positions)].max() > 1e-2
    two = AddVector(Site(0), vector) + ResidualNoise(Site(s.n_layers - 1, stream), 0.3, seed=2)
    torch.testing.assert_close(
        s.decoder.run(clean, two), s.decoder.full(batch, two), rtol=0, atol=1e-5
    )
    assert all(torch.equal(a, b) for a, b in zip(kept, clean.resid, strict=True))
    assert_no_hooks(s.model)


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
            s.decoder.run(s.decoder.clean(batch), edit)
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
    clean = s.decoder.clean(batch)
    for stream in STREAMS:
        edit = AddVector(Site(0), torch.ones(s.d_model)) + Broken(Site(1, stream))
        for run in (lambda e: s.decoder.run(clean, e), lambda e: s.decoder.full(batch, e)):
            with pytest.raises(RuntimeError, match="broken edit"):
                run(edit)
    assert_no_hooks(s.model)
    assert torch.equal(s.decoder.full(batch, NO_EDIT), clean.resid[-1])


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
