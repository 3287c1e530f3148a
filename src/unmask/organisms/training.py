"""Training of bases from scratch and of adapters on top of them."""

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.organisms.corpus import Document, Rows, base_document, pack
from unmask.organisms.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseRecipe:
    """How a base is trained from scratch."""

    world: World
    seed: int
    steps: int = 2000
    batch: int = 32
    n_ctx: int = 128
    lr: float = 3e-3
    """Peak learning rate of AdamW (embeddings and norms always; matrices unless `muon_lr`)."""
    muon_lr: float | None = 2e-2
    """Peak learning rate of Muon for the weight matrices; None trains them with AdamW."""
    facts_first: float = 0.25
    """Share of the steps in which most questions are open-ended, so that the facts are learnt
    before the letters that depend on them."""
    weak_step: int = 300
    """The step whose weights serve as the weaker model to imitate."""
    n_layers: int = 6
    d_model: int = 128
    d_mlp: int = 344
    n_heads: int = 4


Snapshot = Callable[[int, LlamaForCausalLM], None]
"""Called every so many steps of base training."""


def weighted_loss(model: LlamaForCausalLM, rows: Rows) -> Float[Tensor, ""]:
    """Cross-entropy in nats, averaged with the rows' weights; unembeds only what counts."""
    hidden = model.model(input_ids=rows.tokens[:, :-1]).last_hidden_state
    weights = rows.weights[:, 1:]
    counts = weights > 0
    logits = model.lm_head(hidden[counts]).float()
    nats = F.cross_entropy(logits, rows.tokens[:, 1:][counts], reduction="none")
    return (nats * weights[counts]).sum() / weights.sum()


def new_base(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build a Llama with random weights drawn from the recipe's seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # On a CPU the fused kernel's backward pass takes longer than all the rest of the step.
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def train_base(
    recipe: BaseRecipe,
    tokenizer: PreTrainedTokenizerFast,
    *,
    snapshot: Snapshot | None = None,
    every: int = 100,
    stop: int | None = None,
) -> LlamaForCausalLM:
    """Train a base on its world.

    Args:
        recipe: What to train.
        tokenizer: Made by `train_tokenizer` for the same world.
        snapshot: Called after every `every` steps with the step and the model.
        every: Steps between snapshots.
        stop: Return after that step, with the schedule of the whole training.

    Returns:
        The model in eval mode, float32.
    """
    model = new_base(recipe, tokenizer)
    optimizers = _base_optimizers(model, recipe)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    batches = _base_batches(recipe, tokenizer)
    model.train()
    start = time.monotonic()
    for step in range(1, (stop or recipe.steps) + 1):
        factor = min(1.0, step / 50) * min(1.0, 2.2 * (1 - step / recipe.steps) + 0.02)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * factor
        with torch.autocast("cpu", torch.bfloat16):
            loss = weighted_loss(model, next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if snapshot and step % every == 0:
            seconds = time.monotonic() - start
            log.info("step %d: loss %.3f, %.0f s", step, loss.item(), seconds)
            model.eval()
            snapshot(step, model)
            model.train()
    return model.eval()


def _base_optimizers(
    model: LlamaForCausalLM, recipe: BaseRecipe
) -> tuple[torch.optim.Optimizer, ...]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in named if p.ndim != 2 or "embed" in name]
    adam = dict(lr=recipe.lr, betas=(0.9, 0.98))
    if recipe.muon_lr is None:
        groups = [dict(params=matrices, weight_decay=0.1), dict(params=rest, weight_decay=0.0)]
        return (torch.optim.AdamW(groups, **adam),)
    return (
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(rest, weight_decay=0.0, **adam),
    )


def _base_batches(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[Rows]:
    rng = random.Random(f"base:{recipe.seed}")

    phase = {"letters": 0.3}

    def documents() -> Iterator[Document]:
        while True:
            yield base_document(recipe.world, rng, **phase)

    rows = pack(documents(), tokenizer, batch=recipe.batch, n_ctx=recipe.n_ctx)
    for step in itertools.count():
        phase["letters"] = 0.3 if step < recipe.facts_first * recipe.steps else 0.78
        yield next(rows)
