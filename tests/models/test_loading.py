"""Loading: what is accepted, what is refused and how, and that nothing is changed on the way."""

import builtins
import json

import pytest
import torch
from tiny import build, tokenizer

from unmask.api import as_subject
from unmask.errors import MissingExtraError, SubjectError
from unmask.models import Row, loading
from unmask.models.loading import load_subject
from unmask.models.subject import Subject
from unmask.models.weights_hash import weights_hash


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    build("llama").save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_saved_folder_loads_with_the_same_weights_scores_and_hash(folder):
    state = torch.get_rng_state()
    s = load_subject(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    memory = Subject(build("llama"), tokenizer())
    assert s.provenance["weights_hash"] == memory.provenance["weights_hash"]
    row = Row("Which letter?", ("A", "B"))
    assert s.choices([row]) == memory.choices([row])
    assert s.name == s.provenance["id"] == str(folder)
    assert s.provenance["dtype"] == "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_taken_and_changes_the_hash(folder, dtype):
    s = load_subject(str(folder), dtype=dtype, device="cpu")
    assert s.provenance["dtype"] == dtype
    assert s.decoder.exact
    full = build("llama")
    assert weights_hash(s.model) == weights_hash(full.to(getattr(torch, dtype)))
    assert weights_hash(s.model) != weights_hash(build("llama"))
    found = s.choices([Row("Which letter?", ("A", "B"))])[0].log_probs
    exact = load_subject(folder, device="cpu").choices([Row("Which letter?", ("A", "B"))])[0]
    assert found == pytest.approx(exact.log_probs, abs=0.2)
    assert found != exact.log_probs


def test_auto_dtype_is_float32_on_a_cpu_whatever_the_checkpoint(copy):
    build("llama").bfloat16().save_pretrained(copy)
    assert load_subject(copy, device="cpu").provenance["dtype"] == "float32"


def test_a_chat_template_is_found(copy):
    tok = tokenizer()
    tok.chat_template = "{{ messages[0].content }}<eos>"
    try:
        tok.save_pretrained(copy)
    finally:
        tok.chat_template = None
    s = load_subject(copy, device="cpu")
    assert s.chat and s.provenance["chat_template"]
    # The template's own closing tokens are the caller's.
    assert s.encode("A<eos>", templated=True)[-1] == s.tokenizer.eos_token_id
    assert s.encode("A<eos>")[-1] != s.tokenizer.eos_token_id  # a plain text stays open


def test_a_missing_folder_is_an_error(tmp_path):
    for source in (tmp_path / "nothing", "./nothing", "a/b/c"):
        with pytest.raises(SubjectError, match="expected a folder .* which is not there. Check"):
            load_subject(source)


def test_a_file_is_an_error(folder):
    with pytest.raises(SubjectError, match="config.json', which is a file. Check the path"):
        load_subject(folder / "config.json")


def test_a_folder_without_config_is_an_error(tmp_path):
    with pytest.raises(SubjectError, match="expected a config.json in .* a folder without one"):
        load_subject(tmp_path)


def test_a_folder_without_tokenizer_or_weights_is_an_error(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(SubjectError, match="expected a Hugging Face checkpoint with safetensors"):
        load_subject(copy, device="cpu")


def test_a_truncated_checkpoint_is_an_error(copy):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SubjectError, match="not fully covered.* that the download is whole"):
        load_subject(copy, device="cpu")


@pytest.fixture
def pickled(copy):
    """The same weights in a pickle only."""
    torch.save(build("llama").state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    return copy


def test_pickled_weights_are_refused_unless_allowed(pickled):
    with pytest.raises(SubjectError, match="convert them, or pass --allow-pickle if you trust"):
        load_subject(pickled, device="cpu")
    s = load_subject(pickled, device="cpu", allow_pickle=True)
    assert weights_hash(s.model) == weights_hash(build("llama"))


def test_remote_code_is_refused_by_default(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "strange"
    config["auto_map"] = {
        "AutoConfig": "strange.StrangeConfig",
        "AutoModelForCausalLM": "strange.StrangeModel",
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "strange.py").write_text(
        "from pathlib import Path\n(Path(__file__).parent / 'ran').touch()\nraise SystemExit(3)\n"
    )
    with pytest.raises(SubjectError, match="custom code .*pass --trust-remote-code if you"):
        load_subject(copy, device="cpu")
    assert not (copy / "ran").exists()


def test_a_wrong_dtype_is_an_error(folder):
    with pytest.raises(SubjectError, match="expected a dtype of auto, float32, .* got 'int8'"):
        load_subject(folder, dtype="int8")


def test_a_wrong_device_is_an_error(folder):
    with pytest.raises(SubjectError, match="expected a torch device such as cpu .* got 'gpu1'"):
        load_subject(folder, device="gpu1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_an_error(folder):
    with pytest.raises(SubjectError, match="expected room for the model on device 'cuda:7', got"):
        load_subject(folder, device="cuda:7")


def test_several_gpus_need_accelerate(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert loading._placement("auto") == "spread"
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "accelerate":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'unmask\[train\]', or choose one"):
        load_subject(folder)


def test_an_unknown_family_in_a_folder_is_an_error(copy):
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        hidden_size=32, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2, vocab_size=300
    )
    config.word_embed_proj_dim = 32
    OPTForCausalLM(config).save_pretrained(copy)
    with pytest.raises(SubjectError, match="got OPTForCausalLM.*Add an entry"):
        load_subject(copy, device="cpu")


def test_a_bundled_model_goes_where_it_is_told_to():
    one = as_subject("pool:quirk", dtype="bfloat16", device="cpu")
    assert one.provenance["dtype"] == "bfloat16"
    assert as_subject("pool:quirk", device="cpu").provenance["dtype"] == "float32"  # control
    with pytest.raises(SubjectError, match="expected a torch device such as cpu .* got 'gpu1'"):
        as_subject("pool:quirk", device="gpu1")
    with pytest.raises(SubjectError, match="expected a dtype of auto, .* got 'int8'"):
        as_subject("pool:quirk", dtype="int8")


def _rewritten(folder, change):
    """Save the folder's tensors again under other names, or with others missing."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def _renamed(prefix):
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def _without(*names):
    return lambda tensors: {
        name: tensor for name, tensor in tensors.items() if not name.startswith(names)
    }


@pytest.mark.parametrize(
    "change, message",
    [
        (_renamed("_orig_mod."), r"not in the checkpoint .* '_orig_mod\.model\.embed_tokens"),
        (_renamed("base_model.model."), r"'base_model\.model\.model\.embed_tokens"),
        (_without("model.layers.1.self_attn.q_proj"), r"got 1 not in the checkpoint \('model.la"),
        (_without("model.layers.2."), r"got 9 not in the checkpoint \('model.layers.2"),
        (
            lambda tensors: tensors | {"extra": torch.zeros(2)},
            r"got 1 in the checkpoint and not in",
        ),
        (
            lambda tensors: tensors | {"model.norm.weight": torch.ones(7)},
            r"of another shape|size mismatch|norm",
        ),
    ],
)
def test_a_checkpoint_whose_tensors_are_not_the_models_is_refused(copy, change, message):
    load_subject(copy, device="cpu")  # it was whole before
    with pytest.raises(SubjectError, match=message):
        load_subject(_rewritten(copy, change), device="cpu")


@pytest.mark.parametrize("n_layers", [2, 8])
def test_a_config_with_another_number_of_layers_is_refused(copy, n_layers):
    config = json.loads((copy / "config.json").read_text())
    config.pop("layer_types", None)
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": n_layers}))
    with pytest.raises(SubjectError, match="expected the tensors .* to be those of the model"):
        load_subject(copy, device="cpu")


def test_transformers_own_verbosity_is_left_as_it_was(copy):
    from transformers.utils import logging

    before = logging.get_verbosity()
    with pytest.raises(SubjectError):
        load_subject(_rewritten(copy, _renamed("x.")), device="cpu")
    assert logging.get_verbosity() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(copy, value):
    def broken(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        return tensors

    with pytest.raises(SubjectError, match=r"got 1 of 1536 in 'model.layers.1.mlp.up_proj.weight'"):
        load_subject(_rewritten(copy, broken), device="cpu")


def test_a_model_that_scales_its_logits_is_refused():
    model = build("llama")
    whole = type(model).forward

    class Scaled(type(model)):
        def forward(self, *args, **kwargs):
            output = whole(self, *args, **kwargs)
            output.logits = output.logits * self.factor
            return output

    model.__class__ = Scaled
    model.factor = 1.0
    Subject(model, tokenizer())  # as it is, it is fine
    model.factor = 0.25
    with pytest.raises(SubjectError, match="give the model's own logits, got a difference of"):
        Subject(model, tokenizer())
    model.factor = float("nan")
    with pytest.raises(SubjectError, match="expected finite logits of Scaled in float32"):
        Subject(model, tokenizer())


def test_causal_masks_in_older_checkpoints_are_passed_over(copy):
    build("gpt-neo").save_pretrained(copy)
    load_subject(copy, device="cpu")
    name = "transformer.h.0.attn.attention"
    masks = {f"{name}.bias": torch.ones(1, 1, 4, 4), f"{name}.masked_bias": torch.tensor(-1e9)}
    load_subject(_rewritten(copy, lambda tensors: tensors | masks), device="cpu")
    with pytest.raises(SubjectError, match=r"got 1 in the checkpoint and not in .*q_proj\.bias"):
        extra = {f"{name}.q_proj.bias": torch.ones(4)}
        load_subject(_rewritten(copy, lambda tensors: tensors | extra), device="cpu")
