"""Diagrams of heads and whole models compute what the model computes."""

import pytest
import tiny
import torch

from unmask.edits import AblateDirection, AddVector, ResidualNoise, Site, WeightNoise
from unmask.errors import SettingError, SubjectError
from unmask.models import diagrams
from unmask.models.activations import activations
from unmask.models.batch import TokenRow
from unmask.models.diagrams.freezing import attend
from unmask.models.diagrams.reading import NAMES, parts_of
from unmask.models.subject import Subject

SUPPORTED = [name for name in tiny.FAMILIES if name not in ("qwen3-moe", "openai-gpt")]
BOTH_NORMS = ("llama", "gpt2")


def _ids(n=12, seed=0):
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(3, 200, (n,), generator=gen).tolist()


def _subject(model):
    return Subject(model, tiny.tokenizer())


def _vector(seed=0, d=tiny.D_MODEL):
    return torch.randn(d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", SUPPORTED)
def test_the_diagram_of_a_whole_model_has_the_models_logits(family):
    subject = tiny.subject(family)
    frozen = diagrams.freeze(subject, _ids())
    with torch.no_grad():
        expected = subject.model(torch.tensor([_ids()])).logits[0]
    found = diagrams.whole(subject, frozen).value()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    # Control: what is frozen matters.
    other = diagrams.freeze(subject, _ids(seed=1))
    mixed = diagrams.Frozen(
        frozen.tokens, frozen.edit, other.blocks, frozen.final_scale, None, frozen.logits
    )
    assert (diagrams.whole(subject, mixed).value() - expected).abs().max() > 0.1


def test_a_block_without_parallel_residual_is_told_apart():
    model = tiny.build("gpt-neox", use_parallel_residual=False)
    subject = _subject(model)
    frozen = diagrams.freeze(subject, _ids())
    whole = diagrams.whole(subject, frozen)
    assert any(stage.name == "resid_mid^0" for stage in whole.stages)
    torch.testing.assert_close(whole.value(), frozen.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "family, changes",
    [
        ("gpt-neox", {"tie_word_embeddings": True, "rotary_pct": 0.5}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("gemma2", {"final_logit_softcapping": None}),
    ],
)
def test_options_of_a_family_are_read(family, changes):
    subject = _subject(tiny.build(family, **changes))
    frozen = diagrams.freeze(subject, _ids())
    whole = diagrams.whole(subject, frozen)
    torch.testing.assert_close(whole.value(), frozen.logits, atol=1e-4, rtol=0)
    _assert_scores_are_the_models(subject, layer=1, head=3)


@pytest.mark.parametrize("family", SUPPORTED)
def test_qk_has_the_models_attention_scores(family):
    subject = tiny.subject(family)
    for head in (0, 3):
        _assert_scores_are_the_models(subject, layer=1, head=head)


def _assert_scores_are_the_models(subject, layer, head):
    """Patterns made of `qk` on normed residual streams are the model's own."""
    ids = _ids()
    attention = parts_of(subject).blocks[layer].attention
    x = activations(subject, [TokenRow(tuple(ids))], Site(layer, "resid_pre"))[0]
    if attention.norm is not None:
        x = x * attention.norm.scale(x)[:, None]
    found = diagrams.head(subject, layer, head, n_offsets=len(ids))
    if found.residual.constant:
        x = torch.nn.functional.pad(x, (0, 1), value=1.0)
    stream = diagrams.bound("x", f"pos d_model:{found.residual.dim}", x)
    scores = found.qk_between(stream, stream).value()
    if "offset" in found.qk.legs:
        pos = torch.arange(len(ids))
        offsets = (pos[:, None] - pos[None]).clamp(min=0)
        scores = scores.gather(-1, offsets[..., None])[..., 0]
    if attention.q_norm is not None:
        scores = scores * _head_factors(subject, layer, head, ids)
    if attention.softcap:
        scores = attention.softcap * torch.tanh(scores / attention.softcap)
    pattern = attend(subject, [ids])[1][layer][0, head]
    for query, row in enumerate(pattern):
        seen = row > 0  # mask and window are the model's
        torch.testing.assert_close(scores[query, seen].softmax(-1), row[seen], atol=1e-4, rtol=0)


def _head_factors(subject, layer, head, ids):
    """The factors of query and key norms, as the model's own norms see their inputs."""
    module = subject.decoder.blocks[layer].self_attn
    seen = {}

    def keep(norm, args):
        (x,) = args
        rms = x.pow(2).mean(-1).add(1e-6).rsqrt()[0]
        seen[norm] = rms if rms.ndim == 2 else rms[:, None].expand(-1, 4)

    hooks = [norm.register_forward_pre_hook(keep) for norm in (module.q_norm, module.k_norm)]
    attend(subject, [ids])
    for hook in hooks:
        hook.remove()
    q, k = seen[module.q_norm], seen[module.k_norm]
    if len(q) != len(ids):  # heads before positions
        q, k = q.T, k.T
    return q[:, head, None] * k[None, :, head * k.shape[1] // 4]


@pytest.mark.parametrize("family", SUPPORTED)
def test_ov_adds_up_to_what_attention_adds(family):
    subject = tiny.subject(family)
    ids, layer = _ids(), 1
    row = [TokenRow(tuple(ids))]
    attention = parts_of(subject).blocks[layer].attention
    x = activations(subject, row, Site(layer, "resid_pre"))[0]
    if attention.norm is not None:
        x = x * attention.norm.scale(x)[:, None]
    patterns = diagrams.freeze(subject, ids).blocks[layer].pattern
    total = torch.zeros(len(ids), tiny.D_MODEL)
    for number, pattern in enumerate(patterns):
        head = diagrams.head(subject, layer, number)
        rows = torch.nn.functional.pad(x, (0, 1), value=1.0) if head.residual.constant else x
        total += (pattern @ rows @ head.ov.value())[:, : tiny.D_MODEL]
    expected = activations(subject, row, Site(layer, "attn_out"))[0]
    if attention.b_O is not None:
        total += attention.b_O
    if attention.post is not None:
        total *= diagrams.freeze(subject, ids).blocks[layer].post_scale[:, None]
    torch.testing.assert_close(total, expected, atol=1e-4, rtol=0)


def test_query_heads_that_share_keys_name_the_same_arrays():
    subject = tiny.subject("llama")
    first, second, third = (diagrams.head(subject, 0, number) for number in (0, 1, 2))
    assert {"W_K^0.kv0", "W_Q^0.0"} < set(first.qk.arrays)
    assert "W_K^0.kv0" in second.qk.arrays and "W_K^0.kv1" in third.qk.arrays
    weight = subject.model.model.layers[0].self_attn.k_proj.weight
    scale = subject.model.model.layers[0].input_layernorm.weight
    torch.testing.assert_close(third.qk.arrays["W_K^0.kv1"], (weight[8:] * scale).T)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_tied_embeddings_are_one_tensor_used_twice(family):
    head = diagrams.head(tiny.subject(family), 0, 0)
    names = str(head.ov_circuit).count("W_E[")
    assert names == 2 and "W_U" not in head.ov_circuit.arrays
    assert "W_U" in diagrams.head(tiny.subject("llama"), 0, 0).ov_circuit.arrays


@pytest.mark.parametrize("family", BOTH_NORMS)
def test_circuits_between_tokens_are_those_of_their_embeddings(family):
    subject = tiny.subject(family)
    parts = parts_of(subject)
    head = diagrams.head(subject, 1, 2, n_offsets=3)
    W_E = parts.W_E
    if head.residual.constant:
        W_E = torch.nn.functional.pad(W_E, (0, 1), value=1.0)
    expected = torch.einsum("qd,de...,ke->qk...", W_E, head.qk.value(), W_E)
    torch.testing.assert_close(head.qk_circuit.value(), expected, atol=1e-3, rtol=1e-4)
    out = (W_E @ head.ov.value())[:, : tiny.D_MODEL]
    if parts.centres:
        out = out - out.mean(-1, keepdim=True)
    expected = out * parts.norm.weight @ parts.W_U.T
    torch.testing.assert_close(head.ov_circuit.value(), expected, atol=1e-3, rtol=1e-4)


def test_a_learned_position_is_an_embedding_of_its_own():
    subject = tiny.subject("gpt2")
    head = diagrams.head(subject, 0, 1)
    wpe = subject.model.transformer.wpe.weight.detach()
    expected = wpe @ head.qk.value()[:-1, :-1] @ wpe.T
    torch.testing.assert_close(head.qk_positions.value(), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(SettingError, match="learned positions.*rotary positions"):
        _ = diagrams.head(tiny.subject("llama"), 0, 1).qk_positions


def test_rotations_depend_on_the_offset_alone_and_leave_the_rest():
    subject = _subject(tiny.build("gpt-neox", rotary_pct=0.5))
    R = diagrams.head(subject, 0, 0, n_offsets=9).qk.arrays["R"]
    torch.testing.assert_close(R[3] @ R[4], R[7])
    torch.testing.assert_close(R[:, 4:, 4:], torch.eye(4).expand(9, 4, 4))
    assert (R[1, :4, :4] - torch.eye(4)).abs().max() > 0.1


def test_gemma_layers_rotate_by_their_kind():
    heads = [diagrams.head(tiny.subject("gemma3"), layer, 0) for layer in (0, 1)]
    assert {"R_sliding", "R_full"} == {
        name for head in heads for name in head.qk.arrays if name.startswith("R")
    }


def test_weights_that_nothing_is_folded_into_are_the_models_own():
    subject = tiny.subject("llama")
    W_O = diagrams.head(subject, 0, 1).ov.arrays["W_O^0.1"]
    weight = subject.model.model.layers[0].self_attn.o_proj.weight
    assert W_O.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()


EDITS = [
    AddVector(Site(1, "resid_pre"), _vector(1), 2.0),
    AddVector(Site(2, "attn_out", "last"), _vector(2)),
    AblateDirection(Site(0, "mlp_out"), _vector(3)),
    AblateDirection(Site(1, "resid_post"), _vector(4)),
]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neox", "gemma2", "gpt-neo"])
def test_edits_in_the_diagram_give_the_edited_models_logits(family):
    subject = tiny.subject(family)
    clean = diagrams.freeze(subject, _ids()).logits
    for edit in [*EDITS, EDITS[0] + EDITS[1] + EDITS[2] + EDITS[3]]:
        frozen = diagrams.freeze(subject, _ids(), edit)
        assert (frozen.logits - clean).abs().max() > 0.1
        whole = diagrams.whole(subject, frozen)
        torch.testing.assert_close(whole.value(), frozen.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.site.stream)
def test_an_edit_is_shown_where_it_enters(edit):
    subject = tiny.subject("llama")
    shown = diagrams.edit_site(subject, edit, _ids())
    assert "at^edit0[" in str(shown)
    with_edit = diagrams.whole(subject, diagrams.freeze(subject, _ids(), edit)).values()
    assert any(shown.value().equal(value) for value in with_edit.values())
    if edit.site.stream == "resid_post":
        entered = []
        hook = subject.decoder.blocks[edit.site.layer + 1].register_forward_pre_hook(
            lambda _, args: entered.append(args[0][0])
        )
        attend(subject, [_ids()], edit)
        hook.remove()
        torch.testing.assert_close(shown.value(), entered[0], atol=1e-4, rtol=0)


def test_only_linear_edits_are_diagrams():
    subject = tiny.subject("llama")
    with pytest.raises(SettingError, match="add a vector or ablate.*got ResidualNoise"):
        diagrams.edit_site(subject, ResidualNoise(Site(0), 0.1, seed=0), _ids())
    with pytest.raises(SettingError, match="at least one token.*got a WeightNoise"):
        diagrams.freeze(subject, _ids(), WeightNoise(0.1, seed=0))
    with pytest.raises(SettingError, match="at least one token.*got no tokens"):
        diagrams.freeze(subject, [])
    with pytest.raises(SubjectError, match="at most 128 tokens.*got one of 129"):
        diagrams.freeze(subject, [5] * 129)
    with pytest.raises(SettingError, match="layer below 3"):
        diagrams.edit_site(subject, AddVector(Site(7), _vector()), _ids())


@pytest.mark.parametrize("family", ["qwen3-moe", "openai-gpt"])
def test_unsupported_families_are_refused(family):
    with pytest.raises(SubjectError, match="expected one of .*, got .*mixtures of experts"):
        diagrams.head(tiny.subject(family), 0, 0)


def test_layers_and_heads_out_of_range_are_refused():
    subject = tiny.subject("llama")
    with pytest.raises(SettingError, match="layer from 0 to 2, got 3"):
        diagrams.head(subject, 3, 0)
    with pytest.raises(SettingError, match="head from 0 to 3, got 4.*query heads"):
        diagrams.head(subject, 0, 4)
    with pytest.raises(SettingError, match="name of a stage, got 'resid_mid\\^9'.*embed"):
        diagrams.whole(subject, diagrams.freeze(subject, _ids(3))).at("resid_mid^9")


def test_what_was_frozen_on_another_model_is_refused():
    subject = tiny.subject("llama")
    other = diagrams.freeze(tiny.subject("gpt-neo"), _ids())
    for use in (
        lambda: diagrams.whole(subject, other),
        lambda: diagrams.mlp(subject, 0, frozen=other),
        lambda: diagrams.path_expansion(subject, frozen=other),
    ):
        with pytest.raises(SettingError, match=r"3 blocks.*\(4, 48\), got 4 with \(4, 128\)"):
            use()


def test_half_precision_is_read_as_float32_and_not_copied():
    model = tiny.build("llama").to(torch.bfloat16)
    subject = _subject(model)
    parts = parts_of(subject)
    stored = model.model.layers[0].self_attn.q_proj.weight.untyped_storage().data_ptr()
    assert parts.blocks[0].attention.W_Q.untyped_storage().data_ptr() == stored
    head = diagrams.head(subject, 0, 1)
    for found in (head.qk, head.ov, head.ov_circuit):
        assert all(array.dtype == torch.float32 for array in found.arrays.values())
    frozen = diagrams.freeze(subject, _ids())
    difference = diagrams.whole(subject, frozen).value() - frozen.logits
    assert difference.abs().max() < 0.05 * frozen.logits.abs().max()  # the model rounds to bfloat16
    for found in (
        diagrams.path_expansion(subject, top=2).terms[1].bound,
        diagrams.mlp(subject, 0, bilinear=True),
        diagrams.weight(subject, "lm_head.weight"),
    ):
        assert found.value().dtype == torch.float32
    assert diagrams.unembed_singular(subject, (0, 1), k=1)[0].value > 0


def test_a_changed_norm_is_noticed():
    model = tiny.build("llama")
    subject = _subject(model)
    model.model.norm.forward = lambda x: x
    with pytest.raises(SubjectError, match="layer or RMS norm, got another function"):
        parts_of(subject)


def test_layers_with_an_adapter_in_them_are_refused():
    model = tiny.build("llama")
    subject = _subject(model)
    attention = model.model.layers[0].self_attn
    attention.q_proj = torch.nn.Sequential(attention.q_proj)
    with pytest.raises(SubjectError, match="Linear or Conv1D layer, got Sequential"):
        parts_of(subject)


def test_every_family_of_the_table_has_a_tiny_model():
    known = {type(tiny.build(name)).__name__ for name in SUPPORTED}
    assert known == set(NAMES)
