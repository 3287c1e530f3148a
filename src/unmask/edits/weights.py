"""Noise on weights, and the context in which weights are changed and restored."""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.edits.base import WeightEdit
from unmask.edits.keyed import combine, keyed_normal
from unmask.errors import SettingError
from unmask.hashing import key_bits

_NUMBERS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class WeightNoise(WeightEdit):
    """Add ``sigma * size * z`` to every parameter, ``z ~ N(0, 1)``, keyed by (seed, tensor, row).

    Source: Tice et al. (arXiv:2412.01784), who use `absolute` with sigma in [0, 0.01] on all
    parameters; `std` makes one scale mean the same for tensors and models of different size.
    """

    sigma: float
    seed: int
    size: Literal["std", "absolute"] = "std"
    """`std`: the tensor's own standard deviation (so a constant tensor is left alone); `absolute`:
    1."""
    match: str = ""
    """Regular expression: only parameters whose name it is found in are changed."""

    def __post_init__(self) -> None:
        """Check the scale and the expression."""
        try:
            re.compile(self.match)
        except re.error as error:
            raise SettingError(
                f"expected a regular expression for parameter names, got {self.match!r}: {error}. "
                r"Escape its special characters, as in 'layers\.3\.'."
            ) from error
        if not 0 <= self.sigma < math.inf:
            raise SettingError(
                f"expected a finite weight-noise sigma of at least 0, got {self.sigma}. With "
                "size='std' it is relative to each tensor's standard deviation; try 0.05."
            )

    def changes(self, name: str) -> bool:
        """Whether `match` is found in the name."""
        return re.search(self.match, name) is not None

    def perturb(self, name: str, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the noisy parameter; the sum is rounded once, from float32."""
        size = 1.0 if self.size == "absolute" else weight.float().std(correction=0).item()
        rows = weight.reshape(weight.shape[0], -1) if weight.ndim > 1 else weight.reshape(1, -1)
        base = torch.tensor(key_bits("weight-noise", self.seed, name), device=weight.device)
        keys = combine(base, torch.arange(rows.shape[0], device=weight.device))
        noisy = torch.empty_like(rows)
        # Some rows at a time: a key takes 8 bytes, and embeddings can be most of a model.
        step = max(1, _NUMBERS_AT_ONCE // max(1, rows.shape[1]))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            noise = keyed_normal(keys[some], rows.shape[1])
            noisy[some] = rows[some].float() + self.sigma * size * noise
        return noisy.reshape(weight.shape)


@contextmanager
def edited_weights(
    module: nn.Module, edits: Sequence[WeightEdit], names: Collection[str] | None = None
) -> Iterator[None]:
    """Change a module's parameters while the context is open; restored bit for bit on exit.

    Restores from saved copies, since subtracting noise again does not give back the same bits. The
    copies cost the memory of the changed parameters. Shared parameters are changed once.

    Args:
        module: Whose parameters.
        edits: In the order of application.
        names: Only these parameters; by default all.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name, parameter in module.named_parameters() if edits else ():
                changing = [edit for edit in edits if edit.changes(name)]
                if not changing or (names is not None and name not in names):
                    continue
                original = parameter.detach().clone()
                saved.append((parameter, original))
                weight = original
                for edit in changing:
                    weight = edit.perturb(name, weight)
                parameter.copy_(weight)
        yield
    finally:
        with torch.no_grad():
            for parameter, original in saved:
                parameter.copy_(original)
