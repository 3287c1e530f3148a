"""Bound diagrams, MLPs, adapters, induction scores, and a real checkpoint."""

import time
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

import wirework
from unmask.edits import Site, WeightDelta, edited_weights
from unmask.errors import SettingError
from unmask.models import diagrams
from unmask.models.activations import activations
from unmask.models.batch import TokenRow
from unmask.models.diagrams.bound import bound, diagonal, ones
from unmask.models.diagrams.freezing import attend
from unmask.models.diagrams.reading import parts_of
from unmask.models.loading import load_subject
from unmask.models.subject import Subject

SUPPORTED = [name for name in tiny.FAMILIES if name not in ("qwen3-moe", "openai-gpt")]
_MODELS = Path(__file__).parents[2].parent / "shared" / "models"


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_bound_diagrams_compose_as_their_arrays_do():
    A, B = bound("A", "i:d j:d", _random(3, 3)), bound("B", "i:d j:d", _random(3, 3, seed=1))
    a, b = A.arrays["A"], B.arrays["B"]
    torch.testing.assert_close((A @ B).value(), a @ b)
    torch.testing.assert_close((A + 2 * B - A.T(j="i", i="j")).value(), a + 2 * b - a.T)
    assert (1 * A) is A
    v = bound("v", "j:d", _random(3, seed=2))
    torch.testing.assert_close(A.times(v, share=["j"]).value(), a * v.arrays["v"])
    torch.testing.assert_close((diagonal(v) @ B).value(), v.arrays["v"][:, None] * b)
    torch.testing.assert_close(
        A.times(B(i="k"), share=["j"]).value(), torch.einsum("ij,kj->ijk", a, b)
    )
    torch.testing.assert_close((A.times(ones("k:d"))).value(), a[..., None].expand(3, 3, 3))
    assert A.times(ones("k:d")).shape == (3, 3, 3)


def test_legs_that_are_shared_or_joined_keep_the_order_of_the_rest():
    a, b = _random(2, 3, 4), _random(3, 4, 5, seed=1)
    A, B = bound("A", "x y z", a), bound("B", "y z w", b)
    found = A.times(B, {"z": "z"}, share=["y"])
    assert found.legs == ("x", "y", "w")
    torch.testing.assert_close(found.value(), torch.einsum("xyz,yzw->xyw", a, b))


def test_two_arrays_of_one_name_are_refused():
    A, other = bound("A", "i:d j:d", _random(3, 3)), bound("A", "i:d j:d", _random(3, 3, seed=1))
    with pytest.raises(SettingError, match="one name to be the same array, got two for 'A'"):
        A @ other
    torch.testing.assert_close(
        (A @ bound("A", "i:d j:d", _random(3, 3))).value(), A.arrays["A"] @ A.arrays["A"]
    )


def test_arrays_are_bound_later_by_the_tensors_name():
    A = bound("A", "i j")
    with pytest.raises(wirework.WireworkError, match="expected an array for A"):
        A.value()
    with pytest.raises(SettingError, match="tensor of this diagram, got 'B'; it has A"):
        A.bind(B=_random(2, 2))
    torch.testing.assert_close(A.bind(A=_random(2, 2)).value(), _random(2, 2))


def test_a_value_that_is_too_large_is_refused_before_it_is_made():
    circuit = diagrams.head(tiny.subject("llama"), 0, 0).ov_circuit
    with pytest.raises(SettingError, match="at most 1000 elements.*of shape.*path_expansion"):
        circuit.value(memory_limit=1000)
    assert circuit.value(memory_limit=None).shape == circuit.shape


def test_a_notebook_shows_the_drawing_of_the_expression(monkeypatch):
    A = bound("A", "i j", _random(2, 2))
    monkeypatch.setattr(
        wirework.Diagram, "_repr_svg_", lambda drawn: f"<svg>{drawn}</svg>", raising=False
    )
    assert A._repr_svg_() == "<svg>i j: A[i j]</svg>"


def _normed(subject, layer, ids):
    """What the MLP reads but for weights, as the diagrams have it, and what the MLP adds."""
    parts = parts_of(subject)
    row = [TokenRow(tuple(ids))]
    block = parts.blocks[layer]
    x = activations(subject, row, Site(layer, "resid_pre"))[0]
    if not block.parallel:
        x = x + activations(subject, row, Site(layer, "attn_out"))[0]
    if block.mlp.norm is not None:
        x = x * block.mlp.norm.scale(x)[:, None]
    if parts.has_constant:
        x = torch.nn.functional.pad(x, (0, 1), value=1.0)
    return x, activations(subject, row, Site(layer, "mlp_out"))[0]


@pytest.mark.parametrize("family", SUPPORTED)
def test_an_mlp_as_a_box_adds_what_the_model_adds(family):
    subject, ids = tiny.subject(family), list(range(20, 30))
    x, added = _normed(subject, 1, ids)
    found = diagrams.mlp(subject, 1).bind(x=x).value()[:, : tiny.D_MODEL]
    frozen = diagrams.freeze(subject, ids)
    linear = diagrams.mlp(subject, 1, frozen=frozen)
    assert linear.legs == ("pos", "in", "out")
    also = torch.einsum("pi,pio->po", x, linear.value())[:, : tiny.D_MODEL]
    one = parts_of(subject).blocks[1].mlp
    if one.b_out is not None:
        also = also + one.b_out
    if one.post is not None:
        scale = frozen.blocks[1].mlp_post_scale[:, None]
        found, also = found * scale, also * scale
    torch.testing.assert_close(found, added, atol=1e-4, rtol=0)
    torch.testing.assert_close(also, added, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_a_gated_mlp_without_its_activation_is_an_order_3_tensor(family):
    subject = tiny.subject(family)
    B = diagrams.mlp(subject, 2, bilinear=True)
    assert B.legs == ("gate", "in", "out")
    one = parts_of(subject).blocks[2].mlp
    x = _random(tiny.D_MODEL)
    weighed = x * one.norm.weight
    expected = ((weighed @ one.W_gate) * (weighed @ one.W_in)) @ one.writing
    torch.testing.assert_close(
        torch.einsum("gio,g,i->o", B.value(), x, x), expected, atol=1e-3, rtol=1e-4
    )


def test_forms_that_an_mlp_does_not_have_are_refused():
    with pytest.raises(SettingError, match="gated MLP, or one with frozen.*got no gate"):
        diagrams.mlp(tiny.subject("gpt2"), 0, bilinear=True)
    model = tiny.build("gpt2")
    model.config.activation_function = "mish"
    with pytest.raises(SettingError, match="activation among silu.*got 'mish'.*frozen"):
        diagrams.mlp(Subject(model, tiny.tokenizer()), 0)
    with pytest.raises(SettingError, match="layer from 0 to 2, got -1"):
        diagrams.mlp(tiny.subject("gpt2"), -1)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_boxes_are_the_same_in_numpy_and_torch(name):
    box = wirework.apply(name, wirework.tensor("z", "i"))
    z = _random(50).double()
    in_torch = wirework.evaluate(box, {"z": z})
    assert abs(wirework.evaluate(box, {"z": z.numpy()}) - in_torch.numpy()).max() < 1e-12
    approximate = "tanh" if name == "gelu_tanh" else "none"
    expected = torch.nn.functional.gelu(z, approximate=approximate)
    torch.testing.assert_close(in_torch, expected)


@pytest.mark.parametrize(
    "family, name",
    [
        ("llama", "model.layers.1.self_attn.v_proj.weight"),
        ("gpt2", "transformer.h.1.attn.c_attn.weight"),
    ],
)
def test_an_adapter_is_drawn_beside_the_weight_that_it_changes(family, name):
    subject = tiny.subject(family)
    W = diagrams.weight(subject, name)
    delta = WeightDelta({name: (_random(W.shape[0], 2), _random(2, W.shape[1]))}, 0.5)
    found = diagrams.adapter(W, delta)
    assert len(found.expression.terms) == 2
    assert {name, f"A^{name}", f"B^{name}"} == set(found.arrays)
    d_in = W.shape[W.legs.index("d_in")]
    assert found.arrays[f"A^{name}"].shape[W.legs.index("d_in")] == d_in
    with edited_weights(subject.model, (delta,)):
        expected = dict(subject.model.named_parameters())[name].detach().clone()
    torch.testing.assert_close(found.value(), expected)
    full = WeightDelta({name: (_random(*W.shape),)})
    torch.testing.assert_close(diagrams.adapter(W, full).value(), W.value() + _random(*W.shape))


def test_adapters_that_do_not_fit_are_refused():
    subject = tiny.subject("llama")
    name = "model.layers.0.mlp.up_proj.weight"
    W = diagrams.weight(subject, name)
    with pytest.raises(SettingError, match="name of a matrix.*got 'model.up'"):
        diagrams.weight(subject, "model.up")
    with pytest.raises(SettingError, match="single weight among other, got .*up_proj"):
        diagrams.adapter(W, WeightDelta({"other": (_random(2, 2),)}))
    for factors in ((_random(32, 2), _random(2, 48)), (_random(48, 2), _random(3, 32))):
        with pytest.raises(SettingError, match=r"shape \(48, 32\).*got factors of.*transposed"):
            diagrams.adapter(W, WeightDelta({name: factors}))


class _Largest(TorchDispatchMode):
    """Takes note of the largest tensor that any operation returns."""

    n_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.n_elements = max(self.n_elements, out.numel())
        return out


def test_an_expansion_makes_no_array_of_vocab_or_d_model_squared_twice():
    config = transformers.GPT2Config(
        vocab_size=3000, n_embd=64, n_layer=3, n_head=4, n_positions=32, bos_token_id=0
    )
    config.eos_token_id = 0
    subject = Subject(transformers.GPT2LMHeadModel(config), tiny.tokenizer())
    with _Largest() as seen:
        found = diagrams.path_expansion(subject, top=5)
        diagrams.composition_scores(subject)
        diagrams.unembed_singular(subject, (1, 1))
    assert found.n_terms == 1 + 12 + 48
    assert seen.n_elements <= 3000 * 65 < min(3000**2, 64**4)
    with _Largest() as seen:  # control: the dense value would show
        found.terms[0].bound.value()
    assert seen.n_elements >= 3000**2


@pytest.mark.slow
def test_all_paths_of_a_model_like_gpt2_are_ranked_within_a_minute():
    config = transformers.GPT2Config(bos_token_id=0)
    config.eos_token_id = 0
    subject = Subject(transformers.GPT2LMHeadModel(config), tiny.tokenizer())
    started = time.perf_counter()
    found = diagrams.path_expansion(subject)
    assert time.perf_counter() - started < 60
    assert found.n_terms == 1 + 144 + 66 * 144


def test_induction_scores_read_the_right_attention():
    subject = tiny.subject("llama")
    length, rows = 6, 2
    found = diagrams.induction_scores(
        subject, torch.Generator().manual_seed(0), n_rows=rows, length=length
    )
    again = diagrams.induction_scores(
        subject, torch.Generator().manual_seed(0), n_rows=rows, length=length
    )
    assert found.prefix_matching.equal(again.prefix_matching)
    layer, head, score = found.strongest
    assert score == float(found.prefix_matching.max()) == float(found.prefix_matching[layer, head])
    assert all(first[0] < 2 for first, _, _ in found.partners(2, 1))
    best = found.partners(2, 1)[0]
    assert best.score == float(found.K[:2, :, 2, 1].max())


def test_a_head_that_copies_is_scored_one(monkeypatch):
    length = 5
    pattern = torch.zeros(2, 4, 2 * length + 1, 2 * length + 1)
    for query in range(length + 1, 2 * length + 1):
        pattern[:, 1, query, query - length + 1] = 1.0
    for query in range(1, 2 * length + 1):
        pattern[:, 2, query, query - 1] = 1.0
    monkeypatch.setattr(
        "unmask.models.diagrams.induction.attend",
        lambda subject, rows: (_copying(rows, length), (pattern,) * 3),
    )
    found = diagrams.induction_scores(
        tiny.subject("llama"), torch.Generator().manual_seed(0), length=length
    )
    torch.testing.assert_close(found.prefix_matching[0], torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(found.previous_token[0], torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert 0.1 < found.chance < 0.15  # 7 to 11 tokens are seen
    assert found.gain_nats > 5


def _copying(rows, length):
    """Logits that are sure of what stood `length` before the next token, and else of nothing."""
    logits = torch.zeros(len(rows), 2 * length + 1, 300)
    for number, row in enumerate(rows):
        for pos in range(length, 2 * length):
            logits[number, pos, row[pos + 1 - length]] = 20.0
    return logits


def test_texts_that_do_not_fit_are_refused():
    gen = torch.Generator().manual_seed(0)
    for settings in ({"length": 64}, {"length": 1}, {"n_rows": 0}):
        with pytest.raises(SettingError, match="row of 2 to 63 tokens"):
            diagrams.induction_scores(tiny.subject("llama"), gen, **settings)


def test_patterns_are_read_without_changing_the_model():
    subject = tiny.subject("llama")
    before = subject.model.config._attn_implementation
    hooks = [len(module._forward_hooks) for module in subject.model.modules()]
    logits, patterns = attend(subject, [[5, 6, 7]])
    assert subject.model.config._attn_implementation == before
    assert [len(module._forward_hooks) for module in subject.model.modules()] == hooks
    assert len(patterns) == tiny.N_LAYERS and patterns[0].shape == (1, 4, 3, 3)
    torch.testing.assert_close(patterns[1].sum(-1), torch.ones(1, 4, 3))


def test_a_real_checkpoint_is_its_diagram():
    name = "tinystories-instruct-3m-chat"
    if not (_MODELS / name).is_dir():
        pytest.skip(f"no checkpoint {name} beside the repository")
    subject = load_subject(_MODELS / name, device="cpu")
    frozen = diagrams.freeze(subject, "Once upon a time there was a little girl named Lily.")
    found = diagrams.whole(subject, frozen).value()
    torch.testing.assert_close(found, frozen.logits, atol=1e-4, rtol=0)
    expansion = diagrams.path_expansion(subject, top=3, frozen=frozen)
    assert expansion.n_terms == 1 + 128 + 28 * 256
    scores = diagrams.induction_scores(subject, torch.Generator().manual_seed(0), n_rows=2)
    # It has previous-token heads, and none that continues random texts.
    assert scores.previous_token.max() > 0.2 > scores.prefix_matching.max()
    assert scores.gain_nats < 1
