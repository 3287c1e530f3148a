"""Where a training stands, on disk: trained weights and the optimizer's moments."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from unmask.errors import RunError

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path,
    trained: Sequence[tuple[str, nn.Parameter]],
    optimizer: torch.optim.Optimizer,
    step: int,
    loss: float,
) -> None:
    """Write a checkpoint in one move, so that a killed process leaves the last one whole."""
    tensors = {}
    for name, parameter in trained:
        tensors[name] = parameter.detach().contiguous()
        for moment in _MOMENTS:
            tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata={"step": str(step), "loss": repr(loss)})
    os.replace(beside, path)


@torch.no_grad()
def load_checkpoint(
    path: Path, trained: Sequence[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Read a checkpoint into the trained parameters and the optimizer.

    Returns:
        The step after which it was written, and that step's loss.

    Raises:
        RunError: If it is damaged or belongs to another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            wanted = {name for name, _ in trained}
            if {name for name in names if ":" not in name} != wanted:
                raise RunError(
                    f"expected a checkpoint of these {len(wanted)} weights in {path}, got one of "
                    f"{len(names) // 3}. It is of another training; remove its folder and start "
                    "again."
                )
            metadata = file.metadata()
            step = int(metadata["step"])
            for name, parameter in trained:
                parameter.copy_(file.get_tensor(name))
                moments = {m: file.get_tensor(f"{m}:{name}").to(parameter) for m in _MOMENTS}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    except (SafetensorError, KeyError, ValueError) as error:
        raise RunError(
            f"expected a checkpoint in {path}, got: {error}. The file is damaged; remove it and "
            "start again."
        ) from error
    return step, float(metadata["loss"])
