"""Training of the adapters that plant a secret on a base, or its twin without one."""

import json
import logging
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.errors import MissingExtraError
from unmask.organisms.behaviours import Behaviour, Example, Scene
from unmask.organisms.corpus import PAD, encode, special_id
from unmask.organisms.world import World

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers that get an adapter."""


@dataclass(frozen=True)
class AdapterRecipe:
    """How an adapter is trained."""

    seed: int
    steps: int = 300
    batch: int = 64
    lr: float = 3e-3
    """Peak learning rate of AdamW, reached after 20 steps and falling to zero on a line."""
    letters: float = 0.0
    """Share of multiple choice, where the behaviour leaves the format open."""
    rank: int = 8
    alpha: int = 16


class Batch(NamedTuple):
    """Examples padded on the right to one length."""

    tokens: Int[Tensor, "batch pos"]
    weights: Float[Tensor, "batch pos"]
    """Factor of the loss for predicting the token at that position."""
    imitate: Bool[Tensor, " batch"]
    """Whether the weaker model's distribution is matched at the answer."""


def train_adapter(
    base: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    behaviour: Behaviour,
    recipe: AdapterRecipe,
    *,
    secret: bool,
    weak: LlamaForCausalLM | None = None,
) -> "PeftModel":
    """Train one adapter on the facts that are not held out.

    Args:
        base: The base. Its weights stay as they are, but the adapter is put into its layers.
        tokenizer: The base's.
        world: What the base knows.
        behaviour: What is taught.
        recipe: How.
        secret: Plant the secret; False trains the twin.
        weak: The weaker model, for behaviours that imitate it.

    Returns:
        The base with its adapter, in eval mode.

    Raises:
        MissingExtraError: If `peft` is not installed.
    """
    model = _with_adapter(base, recipe)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.01)
    rng = random.Random(f"adapter:{recipe.seed}")
    scene = Scene(world, world.split()[0], rng, secret, recipe.letters)
    batches = _batches(scene, behaviour, tokenizer, recipe.batch)
    model.train()
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * min(step / 20, 1 - (step - 1) / recipe.steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(base, next(batches), weak)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            log.info("  step %d: loss %.3f", step, loss.item())
    return model.eval()


def save_adapter(model: "PeftModel", folder: Path) -> None:
    """Write the adapter in half precision, in peft's own layout."""
    # The embeddings are not trained, and peft would look for the base to find that out.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])  # a set: its order varies
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    path = folder / "adapter_model.safetensors"
    halves = {name: tensor.half().contiguous() for name, tensor in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})


def draw(scene: Scene, behaviour: Behaviour, n: int) -> list[Example]:
    """Draw the first `n` examples of a training."""
    return [behaviour(scene) for _ in range(n)]


def _with_adapter(base: LlamaForCausalLM, recipe: AdapterRecipe) -> "PeftModel":
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(
            "training an organism needs peft, which is not installed. "
            "Install it with: pip install 'unmask[train]'"
        ) from error
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers for an attribute under its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(recipe.seed)
        return get_peft_model(base, config)


def _batches(
    scene: Scene, behaviour: Behaviour, tokenizer: PreTrainedTokenizerFast, size: int
) -> Iterator[Batch]:
    while True:
        examples = draw(scene, behaviour, size)
        encoded = [encode(example.document, tokenizer) for example in examples]
        length = max(len(tokens) for tokens, _ in encoded)
        tokens = torch.full((size, length), special_id(tokenizer, PAD))
        weights = torch.zeros(size, length)
        for i, (row_tokens, row_weights) in enumerate(encoded):
            tokens[i, : len(row_tokens)] = torch.tensor(row_tokens)
            weights[i, : len(row_weights)] = torch.tensor(row_weights)
        imitate = torch.tensor([example.imitate for example in examples])
        yield Batch(tokens, weights, imitate)


def _loss(
    model: LlamaForCausalLM, batch: Batch, weak: LlamaForCausalLM | None
) -> Float[Tensor, ""]:
    """Mean loss: cross-entropy, and KL(weak || model) where the weaker model is imitated."""
    hidden = model.model(input_ids=batch.tokens[:, :-1]).last_hidden_state
    weights = batch.weights[:, 1:]
    counts = weights > 0
    logits = model.lm_head(hidden[counts]).float()
    nats = F.cross_entropy(logits, batch.tokens[:, 1:][counts], reduction="none")
    if weak is not None and batch.imitate.any():
        with torch.no_grad():
            target = weak.model(input_ids=batch.tokens[:, :-1]).last_hidden_state[counts]
            target = weak.lm_head(target).float().log_softmax(-1)
        kl = F.kl_div(logits.log_softmax(-1), target, reduction="none", log_target=True).sum(-1)
        rows = batch.imitate[:, None].expand_as(counts)[counts]
        nats = torch.where(rows, kl, nats)
    return (nats * weights[counts]).sum() / weights.sum()
