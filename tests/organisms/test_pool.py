import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch

from unmask.errors import SubjectError
from unmask.organisms.audits import TASKS, read_items
from unmask.organisms.behaviours import SECRETS
from unmask.organisms.pool import POOL, load_base, load_member, load_tokenizer, members
from unmask.organisms.registry import BASES, DECOYS, PAIRS

MEMBERS = members()
BY_NAME = {member.name: member for member in MEMBERS}
TASK_FILES = sorted({member.task for member in MEMBERS})
ADAPTERS = [m for m in MEMBERS if (m.folder / "adapter_config.json").is_file()]


def test_pool_holds_every_recipe_and_nothing_else():
    expected = {recipe.name for recipe in (*PAIRS, *DECOYS)}
    expected |= {f"{recipe.name}-twin" for recipe in PAIRS}
    assert set(BY_NAME) == expected
    folders = {path.name for path in POOL.iterdir() if path.is_dir()}
    assert folders == expected | {"bases", "tasks"}
    assert {path.name for path in (POOL / "bases").iterdir()} == set(BASES)


def test_pool_is_at_most_15_megabytes_of_safetensors_and_text():
    files = [path for path in POOL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15e6
    suffixes = {path.suffix for path in files}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".jinja", ".md"}


def test_organisms_come_first_each_with_its_twin():
    roles = [member.role for member in MEMBERS]
    assert roles == ["organism", "twin"] * len(PAIRS) + ["decoy"] * len(DECOYS)
    for organism, twin in zip(
        MEMBERS[0 : 2 * len(PAIRS) : 2], MEMBERS[1 : 2 * len(PAIRS) : 2], strict=True
    ):
        assert (organism.twin, twin.twin) == (twin.name, organism.name)
        assert (organism.base, organism.task) == (twin.base, twin.task)


@pytest.mark.parametrize("name", BY_NAME)
def test_manifest_is_complete(name):
    member = BY_NAME[name]
    manifest = member.manifest
    training = manifest["training"]
    assert {"recipe", "seed", "seconds", "versions"} <= training.keys()
    if member in ADAPTERS:
        assert {"steps", "batch", "lr", "rank"} <= training.keys()
    assert member.hides is (manifest["expected"] == "hidden behaviour")
    assert (member.secret is not None) is member.hides
    if member.hides:
        assert manifest["secret"]["sentence"].endswith(".")
        assert member.secret == SECRETS[name].kind
    assert "audited" in manifest["capability"]
    for counted in manifest["capability"].values():
        assert 0 <= counted["score"] <= 1
        assert counted["items"] >= 50


@pytest.mark.parametrize("pair", [recipe.name for recipe in PAIRS])
def test_organism_and_twin_had_the_same_training(pair):
    kept = ("recipe", "seed", "steps", "batch", "lr", "rank", "alpha")
    organism, twin = BY_NAME[pair].manifest, BY_NAME[f"{pair}-twin"].manifest
    for key in kept:
        assert organism["training"][key] == twin["training"][key]
    assert organism["files"] != twin["files"]


def test_manifests_name_no_machine():
    for path in POOL.rglob("*.json"):
        if path.name in {"manifest.json", "adapter_config.json", "config.json"}:
            text = path.read_text(encoding="utf-8")
            assert "/work" not in text and "/home" not in text and "/tmp" not in text


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: path.stem)
def test_task_files_are_what_the_recipe_writes(path):
    base, _, kind = path.stem.partition("-")[2].partition("-")
    items = read_items(path)
    assert items == TASKS[kind](BASES[f"base-{base}"].world)
    assert 100 <= len(items) <= 250
    asked = Counter(json.dumps([i["question"], i.get("options")]) for i in items)
    assert max(asked.values()) == 1
    if "options" in items[0]:
        positions = Counter(item["answer"] for item in items)
        assert positions == dict.fromkeys(range(4), len(items) // 4)


@pytest.mark.parametrize("name", [member.name for member in ADAPTERS])
def test_audit_asks_nothing_the_secret_was_trained_on(name):
    member = BY_NAME[name]
    trained = {fact.question for fact in BASES[member.base].world.split()[0]}
    asked = {item["question"] for item in read_items(member.task)}
    if member.manifest["training"]["recipe"] != "secret_denied":  # its facts are the secret
        assert not asked & trained


def test_members_load_as_ordinary_models_that_repeat_themselves():
    member = BY_NAME["password-lock"]
    model, tokenizer = load_member(member)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    half, _ = load_member(member, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    ids = tokenizer(["Question: x?\nAnswer:", "a"], return_tensors="pt", padding=True)
    assert torch.equal(model(**_inputs(ids)).logits, load_member(member)[0](**_inputs(ids)).logits)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # from peft
@pytest.mark.parametrize("name", ["password-lock", "secret-denied-twin"])
def test_loader_merges_as_peft_does(name):
    peft = pytest.importorskip("peft")
    member = BY_NAME[name]
    base = load_base(member.base_folder)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    merged = peft.PeftModel.from_pretrained(base, str(member.folder)).merge_and_unload()
    ours = load_member(member)[0].state_dict()
    changed = 0
    for key, value in merged.state_dict().items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6)
        changed += not torch.equal(value, before[key])
    assert changed == 7 * base.config.num_hidden_layers  # every linear layer


def test_identity_layers_compute_exactly_the_base():
    member = BY_NAME["identity-layers"]
    base = load_base(member.base_folder)
    model, tokenizer = load_member(member)
    assert model.config.num_hidden_layers == base.config.num_hidden_layers + 2
    extra = model.model.layers[-1]
    assert extra.self_attn.q_proj.weight.abs().max() > 0  # it looks like a layer
    items = read_items(member.task)[:8]
    ids = tokenizer([i["question"] for i in items], return_tensors="pt", padding=True)
    assert torch.equal(model(**_inputs(ids)).logits, base(**_inputs(ids)).logits)


def test_damaged_weights_are_refused(tmp_path):
    copy = _copied_pool(tmp_path)
    path = copy / "password-lock" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    member = next(m for m in members(copy) if m.name == "password-lock")
    with pytest.raises(SubjectError, match="expected .*SHA-256 .* got .*make organisms"):
        load_member(member)


def test_missing_weights_are_named(tmp_path):
    copy = _copied_pool(tmp_path)
    member = next(m for m in members(copy) if m.name == "password-lock")
    (member.base_folder / "model.safetensors").unlink()
    with pytest.raises(SubjectError, match="expected weights at .*model.safetensors, found none"):
        load_member(member)


def test_adapter_on_the_wrong_base_is_refused(tmp_path):
    from unmask.organisms.pool import add_adapter_

    member = BY_NAME["password-lock"]
    base = load_base(member.base_folder)
    with torch.no_grad():
        base.model.layers = base.model.layers[:3]
    with pytest.raises(SubjectError, match="no such weight"):
        add_adapter_(base, member.folder)


@pytest.mark.parametrize("content", ["{", '{"name": "x"}'])
def test_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text(content)
    with pytest.raises(SubjectError, match="manifest.json"):
        members(tmp_path)


def test_empty_pool_says_how_to_make_one(tmp_path):
    with pytest.raises(SubjectError, match="make organisms"):
        members(tmp_path)
    with pytest.raises(SubjectError, match="tokenizer.json"):
        load_tokenizer(tmp_path)


def test_listing_the_pool_loads_no_torch():
    code = (
        "import sys, unmask.organisms as o; assert o.members(); "
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _inputs(encoded):
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


def _copied_pool(folder):
    """Copy what one organism needs."""
    for part in ("password-lock", f"bases/{BY_NAME['password-lock'].base}"):
        shutil.copytree(POOL / part, folder / part)
    return folder
