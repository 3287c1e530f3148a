"""A whole model as a multilinear diagram, at what was frozen on one input.

It is kept stage by stage, as the residual stream: what leaves a stage is one tensor of the next.
Put into each other, the stages of n blocks would have more than 3^n terms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import AblateDirection, ActivationEdit, AddVector
from unmask.edits import Stream as Place
from unmask.errors import SettingError
from unmask.models.diagrams.bound import Bound, bound, ones
from unmask.models.diagrams.freezing import Frozen, freeze, prompts
from unmask.models.diagrams.parts import Attention, Mlp
from unmask.models.diagrams.reading import parts_of
from unmask.models.diagrams.residual import Residual
from unmask.models.subject import Subject


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of the residual stream."""

    name: str
    """Of what leaves it: ``resid_mid^3``, ``resid_post^3``, or ``logits``."""
    reads: str | None
    """Name of what enters it, a tensor in its diagram; None for the embedding."""
    bound: Bound
    """Legs ``pos d_model``, of logits ``pos vocab``."""

    def fed(self, known: Mapping[str, Tensor]) -> Bound:
        """The diagram, with what enters it bound to its value."""
        return (
            self.bound if self.reads is None else self.bound.bind(**{self.reads: known[self.reads]})
        )


@dataclass(frozen=True, eq=False)
class Whole:
    """A model at what was frozen."""

    stages: tuple[Stage, ...] = field(repr=False)

    def values(self) -> dict[str, Float[Tensor, "pos width"]]:
        """What leaves each stage."""
        return _values(self.stages)

    def value(self) -> Float[Tensor, "pos vocab"]:
        """The logits: the model's own, if what was frozen is of the same input."""
        return self.values()["logits"]

    def at(self, name: str) -> Bound:
        """The diagram of one stage, with what enters it bound to its value.

        Raises:
            SettingError: If there is no stage of this name.
        """
        for number, stage in enumerate(self.stages):
            if stage.name == name:
                return stage.fed(_values(self.stages[:number]))
        raise SettingError(
            f"expected the name of a stage, got {name!r}; there are "
            f"{', '.join(stage.name for stage in self.stages)}. Blocks are counted from 0, and "
            "blocks with parallel attention and MLP have no resid_mid."
        )


def _values(stages: Sequence[Stage]) -> dict[str, Tensor]:
    known: dict[str, Tensor] = {}
    for stage in stages:
        known[stage.name] = stage.fed(known).value()
    return known


def whole(subject: Subject, frozen: Frozen) -> Whole:
    """Make the diagram of a whole model.

    Args:
        subject: The model.
        frozen: Its patterns, factors and gates; the edit under which they were recorded is drawn
            where it enters.

    Raises:
        SettingError: If the edit is neither a vector that is added nor a direction that is ablated.
        SubjectError: If the architecture is not supported.
    """
    parts = parts_of(subject)
    frozen.require_of(parts)
    return _Builder(Residual(parts, constant=False), frozen).whole()


@dataclass(frozen=True, eq=False)
class _Builder:
    residual: Residual
    frozen: Frozen

    def whole(self) -> Whole:
        name = "embed"
        stages = [Stage(name, None, self._embedded())]
        for layer, block in enumerate(self.residual.parts.blocks):
            x = self._edited(_stream_at(name), layer, "resid_pre")
            attended = self._edited(self._attention(layer, block.attention, x), layer, "attn_out")
            after = f"resid_post^{layer}"
            if block.parallel:
                mlp_reads, mid = x, x + attended
            else:
                stages.append(Stage(f"resid_mid^{layer}", name, x + attended))
                name = f"resid_mid^{layer}"
                mlp_reads = mid = _stream_at(name)
            added = self._edited(self._mlp(layer, block.mlp, mlp_reads), layer, "mlp_out")
            stages.append(Stage(after, name, self._edited(mid + added, layer, "resid_post")))
            name = after
        return Whole((*stages, Stage("logits", name, self._logits(_stream_at(name)))))

    def _embedded(self) -> Bound:
        tokens = self.frozen.tokens
        hot = torch.nn.functional.one_hot(tokens, len(self.residual.parts.W_E)).float()
        x = bound("tokens", "pos vocab", hot) @ self.residual.tokens
        W_pos = self.residual.parts.W_pos
        return (
            x if W_pos is None else x + bound("W_pos", "pos d_model", W_pos[: len(tokens)].float())
        )

    def _attention(self, layer: int, attention: Attention, x: Bound) -> Bound:
        at, group = self.frozen.blocks[layer], attention.n_heads // attention.n_kv_heads
        weight, bias = attention.reading("V")
        W_V = bound(f"W_V^{layer}", "head d_model d_head", weight.repeat_interleave(group, 0))
        W_V = self.residual.read(W_V.ordered("d_model", "head", "d_head"))
        v = self._scaled(x, f"{layer}", at.scale) @ W_V
        if bias is not None:
            b_V = bound(f"b_V^{layer}", "head d_head", bias.repeat_interleave(group, 0))
            v = v + self._everywhere(b_V)
        pattern = bound(f"A^{layer}", "head query:pos key:pos", at.pattern)
        W_O = bound(f"W_O^{layer}", "head d_head d_model", attention.writing)
        mixed = v.times(pattern, {"pos": "key"}, share=["head"])
        out = mixed.times(W_O, {"head": "head", "d_head": "d_head"})(query="pos")
        if attention.writing_bias is not None:
            b_O = bound(f"b_O^{layer}", "d_model", attention.writing_bias)
            out = out + self._everywhere(b_O)
        return self._scaled(out, f"{layer}.attn_out", at.post_scale)

    def _mlp(self, layer: int, mlp: Mlp, x: Bound) -> Bound:
        at = self.frozen.blocks[layer]
        weight, bias = mlp.reading("in")
        W_in = self.residual.read(bound(f"W_in^{layer}", "d_model d_mlp", weight))
        h = self._scaled(x, f"{layer}.mlp", at.mlp_scale) @ W_in
        if bias is not None:
            h = h + self._everywhere(bound(f"b_in^{layer}", "d_mlp", bias))
        gated = h.times(bound(f"G^{layer}", "pos d_mlp", at.gate), share=["pos", "d_mlp"])
        out = gated @ bound(f"W_out^{layer}", "d_mlp d_model", mlp.writing)
        if mlp.writing_bias is not None:
            out = out + self._everywhere(bound(f"b_out^{layer}", "d_model", mlp.writing_bias))
        return self._scaled(out, f"{layer}.mlp_out", at.mlp_post_scale)

    def _logits(self, x: Bound) -> Bound:
        parts = self.residual.parts
        logits = self._scaled(x, "final", self.frozen.final_scale) @ self.residual.unembedding
        bias = parts.b_U
        if parts.norm.bias is not None:
            moved = parts.W_U.float() @ parts.norm.bias
            bias = moved if bias is None else bias + moved
        if bias is not None:
            logits = logits + self._everywhere(bound("b_U", "vocab", bias))
        if self.frozen.softcap_ratio is None:
            return logits
        ratio = bound("softcap", "pos vocab", self.frozen.softcap_ratio)
        return logits.times(ratio, share=["pos", "vocab"])

    def _scaled(self, x: Bound, name: str, scale: Tensor | None) -> Bound:
        """Each position times its frozen factor of a norm."""
        return x if scale is None else x.times(bound(f"s^{name}", "pos", scale), share=["pos"])

    def _everywhere(self, bias: Bound) -> Bound:
        """The same at each position."""
        return ones("pos").times(bias)

    def _edited(self, x: Bound, layer: int, place: Place) -> Bound:
        """Put in the edits of one place."""
        for number, edit in enumerate(self.frozen.edit.activations):
            if (edit.site.layer, edit.site.stream) == (layer, place):
                x = x + self._change(edit, x, f"^edit{number}")
        return x

    def _change(self, edit: ActivationEdit, x: Bound, suffix: str) -> Bound:
        """What an edit adds; `at` is 1 at the positions that it changes."""
        row = prompts(1, len(self.frozen.tokens))
        mask = row.mask(edit.site.positions)[0].to(self.frozen.logits)
        at = bound(f"at{suffix}", "pos", mask)
        match edit:
            case AddVector():
                vector = bound(f"v{suffix}", "d_model", edit.vector.to(mask))
                return edit.scale * at.times(vector)
            case AblateDirection():
                unit = edit.direction / edit.direction.norm()
                u = bound(f"u{suffix}", "d_model", unit.to(mask))
                along = x.times(u, {"d_model": "d_model"}).times(at, share=["pos"])
                return -1 * along.times(u)
        raise SettingError(
            f"expected edits that add a vector or ablate a direction, got {type(edit).__name__}. "
            "Others are not linear in the activations; freeze and draw the model without them."
        )


def edit_site(subject: Subject, edit: ActivationEdit, tokens: str | Sequence[int]) -> Bound:
    """The stage of the residual stream that an edit enters, on one input.

    Its value is what leaves the stage in the edited model. Patterns, factors and gates are those of
    the model as it is edited, and what enters the stage is bound to its value.

    Args:
        subject: The model.
        edit: A vector that is added, or a direction that is ablated.
        tokens: Token ids, or a text.

    Raises:
        SettingError: If the edit is another one, or the model has no such layer.
        SubjectError: If the architecture is not supported.
    """
    site = edit.site
    made = whole(subject, freeze(subject, tokens, edit))
    mid = f"resid_mid^{site.layer}"
    has_mid = any(stage.name == mid for stage in made.stages)
    enters_mid = has_mid and site.stream in ("resid_pre", "attn_out")
    return made.at(mid if enters_mid else f"resid_post^{site.layer}")


def _stream_at(name: str) -> Bound:
    """The residual stream, as it leaves a stage."""
    return bound(name, "pos d_model")
