"""Densities on disk: safetensors, with what they were fitted to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unmask.errors import SettingError
from unmask.manifold.density import Density
from unmask.manifold.gaussian import Gaussian
from unmask.manifold.mixture import Mixture
from unmask.manifold.vae import Vae

_KINDS: dict[str, type[Density]] = {one.kind: one for one in (Gaussian, Mixture, Vae)}


def save(density: Density, path: Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a density.

    Args:
        density: Any of the three kinds.
        path: A ``.safetensors`` file; its folder is made.
        provenance: What it was fitted to: model, site, texts; JSON values.
    """
    tensors = {"mean": density.mean, "covariance": density.covariance}
    tensors |= {f"parameter.{name}": value for name, value in density.parameters().items()}
    if density.held_out is not None:
        tensors["held_out"] = density.held_out
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"unmask.density": density.kind, "provenance": json.dumps(dict(provenance or {}))}
    save_file({name: one.contiguous().cpu() for name, one in tensors.items()}, path, metadata)


def load(path: Path) -> tuple[Density, dict[str, Any]]:
    """Read a density, and its provenance.

    Raises:
        SettingError: If the file is not one that `save` wrote.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            kind = _KINDS[metadata["unmask.density"]]
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            provenance = json.loads(metadata["provenance"])
            parameters = {
                name.removeprefix("parameter."): value
                for name, value in tensors.items()
                if name.startswith("parameter.")
            }
            found = kind.from_parameters((tensors["mean"], tensors["covariance"]), parameters)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"expected a density written by `unmask.manifold.save` at {path}, got: {error}. Give "
            "the file of another fit, or fit again."
        ) from error
    found.held_out = tensors.get("held_out")
    return found, provenance
