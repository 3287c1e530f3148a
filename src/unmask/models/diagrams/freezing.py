"""What makes a forward pass nonlinear, recorded on one input.

With attention patterns, norm factors and activations held at what they were, the model is a
multilinear diagram (`unmask.models.diagrams.multilinear`) with the model's own logits as its value.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.edits import NO_EDIT, Edit, Tokens
from unmask.errors import SettingError
from unmask.models.batch import TokenRow
from unmask.models.diagrams.parts import Mlp, Norm, Parts
from unmask.models.diagrams.reading import attention_modules, parts_of
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class FrozenBlock:
    """What was recorded in one block. A factor is None where the family has no such norm."""

    pattern: Float[Tensor, "head query key"]
    """Attention after softmax."""
    scale: Float[Tensor, " pos"] | None
    """Factor of the norm before attention: 1 / rms or 1 / std."""
    post_scale: Float[Tensor, " pos"] | None
    mlp_scale: Float[Tensor, " pos"] | None
    mlp_post_scale: Float[Tensor, " pos"] | None
    gate: Float[Tensor, "pos d_mlp"]
    """What ``x W_in + b_in`` is multiplied with: the gate's activations, or, in an MLP without a
    gate, ``act(z) / z``."""


@dataclass(frozen=True, eq=False)
class Frozen:
    """One recorded forward pass."""

    tokens: Int[Tensor, " pos"]
    edit: Edit
    """Under which it ran."""
    blocks: tuple[FrozenBlock, ...] = field(repr=False)
    final_scale: Float[Tensor, " pos"] = field(repr=False)
    softcap_ratio: Float[Tensor, "pos vocab"] | None = field(repr=False)
    """Of logits after the final softcap to those before; None without one."""
    logits: Float[Tensor, "pos vocab"] = field(repr=False)
    """The model's own."""

    def require_of(self, parts: Parts) -> None:
        """Check that this was recorded on a model of these sizes.

        Raises:
            SettingError: If not.
        """
        expected = [(b.attention.n_heads, b.mlp.W_in.shape[1]) for b in parts.blocks]
        got = [(len(b.pattern), b.gate.shape[1]) for b in self.blocks]
        if expected != got:
            raise SettingError(
                f"expected what was frozen of this model, {len(expected)} blocks with (n_heads, "
                f"d_mlp) of {expected[0]}, got {len(got)} with {got[0]}. It was probably recorded "
                "on another model; freeze the text on this one."
            )


def freeze(subject: Subject, tokens: str | Sequence[int], edit: Edit = NO_EDIT) -> Frozen:
    """Run a text once and record what is to be held fixed.

    Args:
        subject: The model.
        tokens: Token ids, or a text.
        edit: Of activations, under which the model runs.

    Raises:
        SettingError: If there are no tokens, or the edit changes weights.
        SubjectError: If the text is longer than the context, or the architecture is not supported.
    """
    ids = list(subject.encode(tokens) if isinstance(tokens, str) else tokens)
    if not ids or edit.weights:
        got = "no tokens" if not ids else f"a {type(edit.weights[0]).__name__}"
        raise SettingError(
            f"expected at least one token and an edit of activations only, got {got}. Patterns are "
            "recorded on a text; apply an edit of weights to the model first."
        )
    subject.check_length([TokenRow(tuple(ids))])
    parts = parts_of(subject)
    with _inputs_of(_modules(parts)) as seen:
        logits, patterns = attend(subject, [ids], edit)
    blocks = []
    for layer, block in enumerate(parts.blocks):
        attention, mlp = block.attention, block.mlp
        blocks.append(
            FrozenBlock(
                patterns[layer][0].float(),
                _scale(attention.norm, seen),
                _scale(attention.post, seen),
                _scale(mlp.norm, seen),
                _scale(mlp.post, seen),
                _gate(mlp, seen[mlp.module]),
            )
        )
    final_scale = _scale(parts.norm, seen)
    assert final_scale is not None
    ratio = None
    if parts.softcap is not None:
        before = _affine(parts.norm(seen[parts.norm.module]), parts.W_U.T, parts.b_U)
        ratio = _ratio(logits[0], before)
    ids = torch.tensor(ids, device=logits.device)
    return Frozen(ids, edit, tuple(blocks), final_scale, ratio, logits[0])


@torch.no_grad()
def attend(
    subject: Subject, rows: Sequence[Sequence[int]], edit: Edit = NO_EDIT
) -> tuple[Float[Tensor, "batch pos vocab"], tuple[Float[Tensor, "batch head query key"], ...]]:
    """Run rows of one length: logits, and each layer's attention after softmax."""
    ids = torch.tensor(rows, device=subject.decoder.device)
    model: Any = subject.model
    batch = prompts(*ids.shape)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # others do not return their patterns
    try:
        with (
            subject.decoder.editing(edit.activations, lambda: batch),
            _patterns_of(attention_modules(subject)) as patterns,
        ):
            out = model(ids, use_cache=False)
    finally:
        model.set_attn_implementation(before)
    return out.logits.float(), tuple(patterns)


def prompts(n_rows: int, n_pos: int) -> Tokens:
    """Which tokens rows of one length hold, all of them prompts."""
    pos = torch.arange(n_pos).expand(n_rows, n_pos)
    return Tokens(torch.arange(n_rows), pos, torch.full((n_rows,), n_pos))


def _modules(parts: Parts) -> list[nn.Module]:
    norms = [parts.norm]
    for block in parts.blocks:
        norms += [block.attention.norm, block.attention.post, block.mlp.norm, block.mlp.post]
    found = [norm.module for norm in norms if norm is not None]
    return found + [block.mlp.module for block in parts.blocks]


@contextmanager
def _patterns_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Keep the pattern of each block's attention in a pass.

    Asking the model for `output_attentions` would leave transformers' hooks on it for good.
    """
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append(out[1])) for module in modules
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _inputs_of(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Keep what enters modules in a pass of one row."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        seen[module] = args[0][0].detach().float()

    hooks = [module.register_forward_pre_hook(keep) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _scale(norm: Norm | None, seen: dict[nn.Module, Tensor]) -> Tensor | None:
    return None if norm is None else norm.scale(seen[norm.module])


@torch.no_grad()
def _gate(mlp: Mlp, x: Tensor) -> Tensor:
    if mlp.W_gate is not None:
        return mlp.act(_affine(x, mlp.W_gate, mlp.b_gate))
    z = _affine(x, mlp.W_in, mlp.b_in)
    return _ratio(mlp.act(z), z)


def _affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    return x @ W.float() if b is None else x @ W.float() + b


def _ratio(after: Tensor, before: Tensor) -> Tensor:
    """What `before` is multiplied with to become `after`; anything does where both are zero."""
    return torch.where(before == 0, 1.0, after / torch.where(before == 0, 1.0, before))
