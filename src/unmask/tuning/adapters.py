"""What is trained: a low-rank adapter beside each linear layer, or every weight."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from unmask.edits import WeightDelta
from unmask.errors import MissingExtraError
from unmask.models.subject import Subject

Method = Literal["lora", "full"]


@dataclass
class Tuned:
    """A model while it is trained."""

    model: nn.Module
    """What is run; its trained parameters require gradients."""
    before: Any
    """Context manager under which the model runs as it was."""
    delta: Any
    """Called without arguments: the change of weights so far, as an edit."""

    @property
    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The trained parameters, by name."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]


@contextmanager
def tuned(
    subject: Subject, method: Method, *, rank: int = 8, alpha: int = 16, seed: int = 0
) -> Iterator[Tuned]:
    """Make a subject trainable while the context is open; it is as before on exit, bit for bit.

    Args:
        subject: Its weights are trained in place, or adapters are put into its layers.
        method: `lora` trains a low-rank adapter beside every linear layer of the blocks.
        rank: Of the adapter.
        alpha: The adapter is scaled by alpha / rank.
        seed: Of the adapter's initial weights.

    Raises:
        MissingExtraError: If `peft` is not installed and `method` is `lora`.
    """
    model: Any = subject.model
    flags = [(p, p.requires_grad) for p in model.parameters()]
    attention = model.config._attn_implementation
    if subject.decoder.device.type == "cpu":
        # On a CPU the fused kernel's backward pass takes longer than all the rest of a step.
        model.set_attn_implementation("eager")
    try:
        with (
            torch.enable_grad(),
            _lora(model, rank, alpha, seed) if method == "lora" else _full(model) as one,
        ):
            yield one
    finally:
        model.set_attn_implementation(attention)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None


@contextmanager
def _lora(model: Any, rank: int, alpha: int, seed: int) -> Iterator[Tuned]:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(
            "training an adapter needs peft, which is not installed. "
            "Install it with: pip install 'unmask[train]'"
        ) from error
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers for an attribute under its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # Its defaults for mixtures of experts name weights that are no linear layers.
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    try:
        yield Tuned(adapted, adapted.disable_adapter, lambda: low_rank(adapted))
    finally:
        adapted.unload()
        vars(model).pop("peft_config", None)


@contextmanager
def _full(model: Any) -> Iterator[Tuned]:
    was = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())

    def delta() -> WeightDelta:
        return WeightDelta({n: (p.detach() - was[n],) for n, p in model.named_parameters()})

    @contextmanager
    def before() -> Iterator[None]:
        now = {name: p.detach().clone() for name, p in model.named_parameters()}
        _copy_(model, was)
        try:
            yield
        finally:
            _copy_(model, now)

    try:
        yield Tuned(model, before, delta)
    finally:
        _copy_(model, was)


@torch.no_grad()
def _copy_(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def low_rank(adapted: Any) -> WeightDelta:
    """Read an adapter as a change of its base's weights: ``W += alpha / r * B A``."""
    from peft.tuners.lora import LoraLayer

    factors = {}
    modules: list[tuple[str, Any]] = list(adapted.get_base_model().named_modules())
    for name, layer in modules:
        if isinstance(layer, LoraLayer) and "default" in layer.lora_A:
            module: Any = layer
            down = module.lora_A["default"].weight.detach().clone()
            up = module.lora_B["default"].weight.detach() * module.scaling["default"]
            # Some layers (GPT-2's) keep their weight transposed.
            transposed = getattr(module, "fan_in_fan_out", False)
            factors[f"{name}.weight"] = (down.T, up.T) if transposed else (up, down)
    return WeightDelta(factors)
