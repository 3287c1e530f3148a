"""Load a subject from a folder or a hub id, safely."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from unmask.errors import MissingExtraError, SubjectError
from unmask.models.subject import Subject

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_MASKS = re.compile(r"(attn|attention)\.(masked_)?bias$|rotary_emb\.inv_freq$")
"""Buffers that older checkpoints hold, and today's models compute: causal masks and frequencies."""

_LOADING_FAILS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError)


def load_subject(
    source: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Subject:
    """Load a causal language model with its tokenizer.

    Args:
        source: A folder in Hugging Face format, or a hub id.
        dtype: float32, bfloat16, float16, or auto: float32 on a CPU, else the checkpoint's own.
        device: A torch device, or auto: the GPU if there is one, spread over all of them by
            accelerate if there are several, else the CPU.
        revision: Commit, branch or tag of a hub id.
        trust_remote_code: Run the checkpoint's own Python code. It can do anything you can.
        allow_pickle: Load weights from pickles, which can run any code.

    Raises:
        SubjectError: If there is no such checkpoint, or it is not a causal language model of a
            known family with safetensors weights, all of them there and finite.
        MissingExtraError: If several GPUs are used and accelerate is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = str(source)
    _check_source(source)
    place = _placement(device)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        auto: Any = AutoModelForCausalLM
        with _quiet():  # what it warns of is an error here
            model, matched = auto.from_pretrained(
                source,
                dtype=_dtype(dtype, place),
                use_safetensors=None if allow_pickle else True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named and refused below
                **({"device_map": "auto"} if place == "spread" else {}),
                **options,
            )
    except _LOADING_FAILS as error:
        raise SubjectError(
            f"expected a Hugging Face checkpoint with safetensors weights and a tokenizer at "
            f"{source!r}, got: {_first_line(error)}. {_advice(error)}"
        ) from error
    _check_complete(source, matched)
    if place != "spread":
        _move_(model, place)
    return Subject(model, tokenizer, name=source, revision=revision)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing its own report of tensors that do not match."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_complete(source: str, matched: Mapping[str, Any]) -> None:
    """Check that the checkpoint's tensors are the model's, all of them and no others.

    transformers fills in what is missing at random, and passes over what it does not know.

    Raises:
        SubjectError: If tensors are missing, unexpected, or of another shape.
    """
    faults = []
    for kind, what in (
        ("missing_keys", "not in the checkpoint"),
        ("unexpected_keys", "in the checkpoint and not in the model"),
        ("mismatched_keys", "of another shape than the model's"),
    ):
        # Of another shape: (name, shape in the checkpoint, shape in the model).
        names = sorted(key if isinstance(key, str) else key[0] for key in matched.get(kind) or ())
        if kind == "unexpected_keys":
            names = [name for name in names if not _MASKS.search(name)]
        if names:
            shown = ", ".join(map(ascii, names[:3])) + (", ..." if len(names) > 3 else "")
            faults.append(f"{len(names)} {what} ({shown})")
    if faults:
        raise SubjectError(
            f"expected the tensors of {source!r} to be those of the model that its config.json "
            f"describes, got {'; '.join(faults)}. What is missing would be random, and what is "
            "unexpected be left out. The config may be another checkpoint's, tensors may have been "
            "renamed (torch.compile writes '_orig_mod.', peft 'base_model.model.'), or a file be "
            "missing. Save it again with save_pretrained from the model itself."
        )


def moved(model: Any, *, dtype: str = "auto", device: str = "auto") -> Any:
    """Put a model in memory where `load_subject` would put it; it is not spread over GPUs.

    Args:
        model: Changed in place.
        dtype: As for `load_subject`; auto keeps the model's own on a GPU.
        device: A torch device, or auto: the first GPU if there is one, else the CPU.

    Raises:
        SubjectError: If there is no such device or dtype, or too little room.
    """
    place = _first_device() if device == "auto" else _placement(device)
    kind = _dtype(dtype, place)
    if isinstance(kind, torch.dtype):
        model.to(kind)
    return _move_(model, place)


def _move_(model: Any, place: str) -> Any:
    try:
        return model.to(place)
    except (RuntimeError, AssertionError) as error:  # the latter without any CUDA in torch
        raise SubjectError(
            f"expected room for the model on device {place!r}, got: {_first_line(error)}. "
            "Choose another by --device, or a smaller --dtype."
        ) from error


def _check_source(source: str) -> None:
    folder = Path(source)
    looks_local = folder.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1
    if not looks_local:
        return
    if not folder.is_dir():
        raise SubjectError(
            f"expected a folder with a checkpoint, got {source!r}, which is "
            f"{'a file' if folder.exists() else 'not there'}. Check the path; a hub id has the "
            "form owner/name."
        )
    if not (folder / "config.json").is_file():
        raise SubjectError(
            f"expected a config.json in {source!r}, got a folder without one. Point to the folder "
            "that save_pretrained wrote."
        )


def _placement(device: str) -> str:
    if device != "auto":
        try:
            torch.device(device)
        except RuntimeError as error:
            raise SubjectError(
                f"expected a torch device such as cpu or cuda:0, got {device!r}. "
                "Leave --device out to choose automatically."
            ) from error
        return device
    if torch.cuda.device_count() > 1:
        try:
            import accelerate as accelerate
        except ImportError as error:
            raise MissingExtraError(
                "expected accelerate to spread the model over several GPUs, got none. "
                "Install it with: pip install 'unmask[train]', or choose one GPU by "
                "--device cuda:0."
            ) from error
        return "spread"
    return _first_device()


def _first_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(dtype: str, place: str) -> torch.dtype | str:
    if dtype == "auto":
        return torch.float32 if place.startswith("cpu") else "auto"
    if dtype not in DTYPES:
        raise SubjectError(
            f"expected a dtype of auto, {', '.join(DTYPES)}, got {dtype!r}. "
            "Leave --dtype out to choose automatically."
        )
    return DTYPES[dtype]


def _advice(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            "It comes with Python code of its own: read it, and pass --trust-remote-code if you "
            "trust it. Architectures other than those in unmask/models/families.py are refused."
        )
    return (
        "Check the path or id, and that the download is whole; for weights kept as pickles convert "
        "them, or pass --allow-pickle if you trust them."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
