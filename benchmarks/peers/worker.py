"""What the workers share; standard library, torch, safetensors and the peer's own library only."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor


class Work(NamedTuple):
    """One request."""

    positions: str
    """`last` or `all`: where each vector is added to what enters `block`."""
    block: int
    input_ids: Tensor
    vectors: Tensor
    options: Tensor


class Unsupported(Exception):
    """The library cannot do this."""


def log_probs(logits: Tensor, options: Tensor) -> Tensor:
    """Read the options' log-probabilities off the logits of the last position."""
    return logits.float().log_softmax(-1)[..., options]


def serve(distribution: str, load: Callable[[Path], Callable[[Work], Tensor]]) -> None:
    """Answer requests on standard input, one line each, until it ends.

    Args:
        distribution: The library's name on the package index.
        load: Given the checkpoint's folder, returns what does the work: for each vector a row of
            the options' log-probabilities.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    torch.set_grad_enabled(False)
    folder = Path(sys.argv[1])
    inputs = load_file(folder / "inputs.safetensors")
    work = load(folder / "model")
    print(json.dumps({"version": f"{distribution} {version(distribution)}"}), file=answers)
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        one = Work(request["positions"], request["block"], **inputs)
        try:
            began = time.perf_counter()
            found = work(one)
            seconds = time.perf_counter() - began
            reply = {"seconds": seconds, "log_probs": found.tolist()}
        except Unsupported as error:
            reply = {"unsupported": str(error)}
        print(json.dumps(reply), file=answers)
        answers.flush()
