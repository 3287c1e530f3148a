"""Directions on disk, and in the formats of others."""

import gguf
import numpy as np
import pytest
import torch
import transformers
from tiny import subject

from unmask.errors import SettingError
from unmask.steering import Directions, export_biased, export_gguf


def directions(d_model, layer=2, positions="all"):
    gen = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, d_model, generator=gen)
    return Directions(vectors, layer, positions, {"method": "Melbo", "radius": 2.5})


def test_directions_are_read_back_as_they_were(tmp_path):
    path = tmp_path / "folder" / "found.safetensors"
    before = directions(8, 3, "last")
    before.save(path)
    after = Directions.load(path)
    assert torch.equal(after.vectors, before.vectors)
    assert (after.layer, after.positions) == (3, "last")
    assert after.provenance == {"method": "Melbo", "radius": 2.5}
    assert [one.name for one in path.parent.iterdir()] == ["found.safetensors"]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_vector_that_is_not_there_is_an_error(index):
    with pytest.raises(SettingError, match="expected a vector between 0 and 2"):
        directions(8)[index]


def test_other_files_are_an_error(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name, found in (("other", "got none"), ("text", "got Safetensor"), ("absent", "FileNot")):
        with pytest.raises(SettingError, match=f"expected a file of directions .*{found}"):
            Directions.load(tmp_path / f"{name}.safetensors")


def test_a_control_vector_is_what_llama_cpp_expects(tmp_path):
    # Its loader reads tensors called direction.N, of one axis, in float32, with N >= 1, and adds
    # each to what leaves block N.
    path = tmp_path / "control.gguf"
    before = directions(8, layer=3)
    export_gguf(before, 1, path, "llama")
    reader = gguf.GGUFReader(path)
    (tensor,) = reader.tensors
    assert tensor.name == "direction.2" and tensor.tensor_type == gguf.GGMLQuantizationType.F32
    np.testing.assert_array_equal(tensor.data, before.vectors[1].numpy())
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 1


@pytest.mark.parametrize(("family", "layer"), [("llama", 2), ("gpt2", 1), ("gpt-neox", 2)])
def test_a_biased_checkpoint_is_steered_in_transformers_alone(family, layer, tmp_path):
    s = subject(family)
    before = {name: value.clone() for name, value in s.model.state_dict().items()}
    found = directions(s.d_model, layer)
    export_biased(s, found, 1, tmp_path)
    ids = torch.tensor([s.encode("Which letter?")])
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = loaded(ids).logits[0].log_softmax(-1)
        plain = s.model(ids).logits[0].log_softmax(-1)
    assert (theirs - plain).abs().max() > 0.1
    hooked = _hooked(s, layer, found.vectors[1], ids)
    torch.testing.assert_close(theirs, hooked, atol=1e-4, rtol=0)
    after = s.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert getattr(s.model.config, "mlp_bias", False) is False


def _hooked(s, layer, vector, ids):
    def add(_, args, kwargs):
        return (args[0] + vector, *args[1:]), kwargs

    handle = s.decoder.blocks[layer].register_forward_pre_hook(add, with_kwargs=True)
    try:
        with torch.no_grad():
            return s.model(ids).logits[0].log_softmax(-1)
    finally:
        handle.remove()


def test_where_there_is_no_place_for_a_direction_is_an_error(tmp_path, monkeypatch):
    s = subject("gemma2")
    with pytest.raises(SettingError, match="expected a model whose MLPs write to the stream"):
        export_biased(s, directions(s.d_model), 0, tmp_path / "a")
    with pytest.raises(SettingError, match="expected a direction that enters block 1"):
        export_biased(s, directions(s.d_model, 0), 0, tmp_path / "a")
    with pytest.raises(SettingError, match="expected a direction that enters block 2"):
        export_gguf(directions(8, 1), 0, tmp_path / "a.gguf", "llama")
    for call in (
        lambda: export_gguf(directions(8, 2, "last"), 0, tmp_path / "a.gguf", "llama"),
        lambda: export_biased(s, directions(s.d_model, 2, "last"), 0, tmp_path / "a"),
    ):
        with pytest.raises(SettingError, match="directions that are added at all positions"):
            call()
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(ImportError, match=r"pip install 'unmask\[export\]'"):
        export_gguf(directions(8, 2), 0, tmp_path / "a.gguf", "llama")
    assert not list(tmp_path.iterdir())
