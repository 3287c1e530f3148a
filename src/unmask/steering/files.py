"""Directions on disk: our own format, llama.cpp's control vectors, and biased checkpoints."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unmask.errors import MissingExtraError, SettingError
from unmask.models.families import part
from unmask.models.subject import Subject

_FORMAT = "unmask.directions.1"


@dataclass(frozen=True, eq=False)
class Directions:
    """Vectors to be added to what enters one block."""

    vectors: Float[Tensor, "vectors d_model"] = field(repr=False)
    """In units of the stream; what is added is the vector itself."""
    layer: int
    """The block; the site's stream is `resid_pre`."""
    positions: str = "all"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How they were found: method, settings, radius, the subject's weights hash."""

    def __getitem__(self, index: int) -> Float[Tensor, " d_model"]:
        """One of the vectors.

        Raises:
            SettingError: If there is no such vector.
        """
        if not 0 <= index < len(self.vectors):
            raise SettingError(
                f"expected a vector between 0 and {len(self.vectors) - 1}, got {index}. The report "
                "of the search shows their numbers."
            )
        return self.vectors[index]

    def save(self, path: Path) -> None:
        """Write one safetensors file; its metadata hold everything but the vectors."""
        metadata = {
            "format": _FORMAT,
            "layer": str(self.layer),
            "positions": self.positions,
            "provenance": json.dumps(self.provenance),
        }
        data = save({"vectors": self.vectors.detach().cpu().contiguous()}, metadata)
        partial = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "Directions":
        """Read such a file back.

        Raises:
            SettingError: If it is not one.
        """
        try:
            with safe_open(path, "pt") as opened:
                metadata = opened.metadata() or {}
                if metadata.get("format") == _FORMAT:
                    return cls(
                        opened.get_tensor("vectors"),
                        int(metadata["layer"]),
                        metadata["positions"],
                        json.loads(metadata["provenance"]),
                    )
                found = metadata.get("format", "none")
        except (OSError, SafetensorError) as error:
            found = f"{type(error).__name__}: {error}"
        raise SettingError(
            f"expected a file of directions ({_FORMAT}) at {str(path)!r}, got {found}. They are "
            "written by `unmask melbo` and `unmask dct`."
        )


def export_gguf(directions: Directions, index: int, path: Path, model_type: str) -> None:
    """Write one direction as a control vector that llama.cpp reads.

    llama.cpp adds ``direction.N`` to what leaves block N, and has none for block 0; so what enters
    block N + 1 here.

    Args:
        directions: Added at all positions, as llama.cpp does.
        index: Which vector.
        path: Ends with ``.gguf``.
        model_type: llama.cpp's name of the architecture, such as "llama".

    Raises:
        SettingError: If there is no such place in llama.cpp.
        MissingExtraError: If the gguf package is not installed.
    """
    _check_everywhere(directions, "llama.cpp")
    if directions.layer < 2:
        raise SettingError(
            f"expected a direction that enters block 2 or a later one, got block "
            f"{directions.layer}. llama.cpp adds control vectors to what leaves block 1 or later; "
            "search at a later block."
        )
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(
            "expected the gguf package, which writes control vectors, got an installation without "
            "it. Install it with: pip install 'unmask[export]'."
        ) from error
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", model_type)
    writer.add_uint32("controlvector.layer_count", 1)
    vector = directions[index].detach().float().cpu().numpy()
    writer.add_tensor(f"direction.{directions.layer - 1}", vector)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


@torch.no_grad()
def export_biased(subject: Subject, directions: Directions, index: int, folder: Path) -> None:
    """Write the model with one direction as the bias of an MLP: an ordinary checkpoint.

    Transformers loads it without our help, and every pass of it is steered.

    Args:
        subject: The model; unchanged when this returns or raises.
        directions: Added at all positions.
        index: Which vector.
        folder: Where the checkpoint is written.

    Raises:
        SettingError: If the model's architecture has no bias there.
    """
    _check_everywhere(directions, "a bias")
    if directions.layer < 1:
        raise SettingError(
            "expected a direction that enters block 1 or a later one, got block 0. The bias is "
            "that of the block before; search at a later block."
        )
    decoder = subject.decoder
    linear = _writer(part(decoder.blocks[directions.layer - 1], decoder.family.mlp_out))
    vector = directions[index]
    if linear is not None and isinstance(linear.bias, Tensor):
        before = linear.bias.clone()
        try:
            linear.bias += vector.to(linear.bias)
            subject.model.save_pretrained(folder)
        finally:
            linear.bias.copy_(before)
    elif linear is not None and getattr(subject.model.config, "mlp_bias", None) is False:
        _save_with_biases(subject, linear, vector, folder)
    else:
        raise SettingError(
            "expected a model whose MLPs write to the stream through a linear map with a bias, "
            f"got {type(subject.model).__name__}, which has no place for one. Apply the direction "
            "with AddVector, or export it for llama.cpp."
        )
    subject.tokenizer.save_pretrained(folder)


def _save_with_biases(subject: Subject, linear: nn.Module, vector: Tensor, folder: Path) -> None:
    """Save a model whose configuration knows biases that it does not use (Llama's `mlp_bias`)."""
    config: Any = subject.model.config
    state = dict(subject.model.state_dict())
    weight: Tensor = linear.weight  # type: ignore[assignment]
    for name, module in subject.model.named_modules():
        if isinstance(module, nn.Linear) and ".mlp." in name:
            state[f"{name}.bias"] = module.weight.new_zeros(module.out_features)
            if module is linear:
                state[f"{name}.bias"] = vector.to(weight)
    config.mlp_bias = True
    try:
        subject.model.save_pretrained(folder, state_dict=state)
    finally:
        config.mlp_bias = False


def _writer(module: nn.Module) -> Any:
    """The linear map by which an MLP writes: its last one; None if a norm comes after it."""
    linear = [one for one in module.modules() if getattr(one, "weight", None) is not None]
    return linear[-1] if linear and linear[-1].weight.dim() == 2 else None  # type: ignore[operator]


def _check_everywhere(directions: Directions, what: str) -> None:
    if directions.positions != "all":
        raise SettingError(
            f"expected directions that are added at all positions, got {directions.positions!r}. "
            f"{what.capitalize()} acts at all of them; search with positions all."
        )
