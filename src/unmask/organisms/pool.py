"""The bundled pool: what is in it, and loading its members as ordinary models.

Loading needs transformers and safetensors only; adapters are added to the base's weights here,
so that the demo runs without peft.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unmask.errors import SubjectError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

POOL = Path(__file__).parent / "pool"
"""Where the bundled pool lies."""

Role = Literal["organism", "twin", "decoy"]

MANIFEST = "manifest.json"
"""Beside each member's weights: how it was made, and what it measured."""
_ADAPTER = "adapter_model.safetensors"
_CHECKPOINT = "model.safetensors"
_REMAKE = "Remake the pool with: make organisms"


@dataclass(frozen=True)
class Member:
    """One model of the pool."""

    name: str
    role: Role
    secret: str | None
    """The kind of what it hides; None for twins and decoys."""
    base: str
    """The base it was made from."""
    twin: str | None
    """Name of the other of the pair: an organism's twin, a twin's organism; None for decoys."""
    task: Path
    """The task it is audited with."""
    folder: Path
    manifest: dict[str, Any] = field(repr=False, hash=False)
    """How it was made and what it measured; see the pool's README."""

    @property
    def base_folder(self) -> Path:
        """Where its base lies: weights, configuration and tokenizer."""
        return self.folder.parent / "bases" / self.base

    @property
    def hides(self) -> bool:
        """Whether an ideal audit finds something."""
        return self.role == "organism"


def members(root: Path = POOL) -> tuple[Member, ...]:
    """List a pool's members, organisms first, each followed by its twin, then the decoys.

    Raises:
        SubjectError: If `root` holds no pool, or a manifest cannot be read.
    """
    found = [_member(path.parent) for path in sorted(Path(root).glob(f"*/{MANIFEST}"))]
    if not found:
        raise SubjectError(
            f"expected a pool of organisms in {root}, found no folder with a {MANIFEST}. "
            f"The package data may not have been installed. {_REMAKE}"
        )
    order = {member.name: i for i, member in enumerate(found)}

    def rank(member: Member) -> tuple[bool, int, bool]:
        pair = member.twin if member.role == "twin" and member.twin in order else member.name
        return member.role == "decoy", order[pair], member.role == "twin"

    return tuple(sorted(found, key=rank))


def load_member(
    member: Member, dtype: "torch.dtype | None" = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """Load a member as an ordinary model in eval mode, its adapter merged into the weights.

    Args:
        member: One of `members`.
        dtype: Of the loaded weights; float32 if None. Adapters are merged in float32 first.

    Returns:
        The model and its tokenizer.

    Raises:
        SubjectError: If a file is missing, or its content is not what the manifest records.
    """
    import torch

    if _ADAPTER in member.manifest["files"]:
        model = load_base(member.base_folder)
        add_adapter_(model, member.folder, member.manifest)
    else:
        for name in member.manifest["files"]:
            _checked(member.folder / name, member.manifest)
        model = _pretrained(member.folder)
    has_own = (member.folder / "tokenizer.json").is_file()
    tokenizer = load_tokenizer(member.folder if has_own else member.base_folder)
    # As a module: the class narrows the types that `to` takes.
    torch.nn.Module.to(model, dtype or torch.float32)
    return model.eval(), tokenizer


def load_base(folder: Path) -> "PreTrainedModel":
    """Load a base in float32, after checking that it is the one its manifest records.

    Raises:
        SubjectError: If a file is missing, or its content is not what the manifest records.
    """
    _checked(folder / _CHECKPOINT, _read_manifest(folder))
    return _pretrained(folder).eval()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of a base.

    Raises:
        SubjectError: If it is missing.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise SubjectError(
            f"expected a tokenizer.json in {folder}, found none. The pool is incomplete. {_REMAKE}"
        )
    return PreTrainedTokenizerFast.from_pretrained(folder)


def add_adapter_(
    model: "PreTrainedModel", folder: Path, manifest: dict[str, Any] | None = None
) -> None:
    """Add a LoRA adapter to a model's weights: ``W += alpha / r * B A``.

    Args:
        model: The base, in float32; changed in place.
        folder: The adapter, in peft's layout.
        manifest: Its manifest, to check the file against; read from `folder` if None.

    Raises:
        SubjectError: If a file is missing or damaged, or the adapter does not fit the model.
    """
    import torch
    from safetensors.torch import load_file

    _checked(folder / _ADAPTER, manifest or _read_manifest(folder))
    config = _read_json(folder / "adapter_config.json")
    scale = config["lora_alpha"] / config["r"]
    tensors = {name: tensor.float() for name, tensor in load_file(folder / _ADAPTER).items()}
    weights = dict(model.named_parameters())
    for name, down in tensors.items():
        if ".lora_A." not in name:
            continue
        up = tensors[name.replace(".lora_A.", ".lora_B.")]
        target = name.removeprefix("base_model.model.").replace(".lora_A.", ".")
        weight = weights.get(target)
        if weight is None or weight.shape != (up.shape[0], down.shape[1]):
            got = "no such weight" if weight is None else f"shape {tuple(weight.shape)}"
            raise SubjectError(
                f"adapter {folder.name}: expected a weight {target} of shape "
                f"{(up.shape[0], down.shape[1])} in the base, got {got}. "
                f"Base and adapter may come from different pools. {_REMAKE}"
            )
        with torch.no_grad():
            weight.add_(up @ down, alpha=scale)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _member(folder: Path) -> Member:
    manifest = _read_manifest(folder)
    try:
        secret = manifest["secret"]
        return Member(
            name=manifest["name"],
            role=manifest["role"],
            secret=secret["kind"] if secret else None,
            base=manifest["base"],
            twin=manifest["twin"],
            task=folder.parent / manifest["task"],
            folder=folder,
            manifest=manifest,
        )
    except (KeyError, TypeError) as error:
        raise SubjectError(
            f"expected name, role, secret, base, twin and task in {folder / MANIFEST}, "
            f"got an error at {error}. The file may have been edited by hand. {_REMAKE}"
        ) from error


def _pretrained(folder: Path) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    return _read_json(folder / MANIFEST)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SubjectError(
            f"expected a file {path}, found none. The pool is incomplete. {_REMAKE}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SubjectError(
            f"expected JSON in {path}, got an error: {error}. The file is damaged. {_REMAKE}"
        ) from error


def _checked(path: Path, manifest: dict[str, Any]) -> None:
    """Check that a weights file is the one the manifest records."""
    if not path.is_file():
        raise SubjectError(
            f"expected weights at {path}, found none. The pool is incomplete. {_REMAKE}"
        )
    expected, got = manifest["files"].get(path.name), file_hash(path)
    if expected != got:
        raise SubjectError(
            f"expected {path} with SHA-256 {expected}, got {got}. The file is damaged or does "
            f"not belong to this manifest. {_REMAKE}"
        )
