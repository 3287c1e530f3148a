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

from unmask.organisms.corpus import BOS, EOS, PAD, Document, Rows, base_document, pack, special_id
from unmask.organisms.world import World

log = logging.getLogger(__name__)

_N_CONSTANT = 8
"""How many entries of every embedding start at one."""


@dataclass(frozen=True)
class BaseRecipe:
    """How a base is trained from scratch."""

    world: World
    seed: int
    steps: int = 1000
    batch: int = 24
    n_ctx: int = 128
    lr: float = 5e-3
    """Peak learning rate of AdamW, for the embeddings and norms."""
    muon_lr: float = 1e-2
    """Peak learning rate of Muon, for the other weights."""
    facts_first: float = 0.25
    """Share of the steps in which most questions are open-ended, so that the facts are learnt
    before the letters that depend on them."""
    stop: int | None = 250
    """The step after which training is cut short, with the schedule of the whole; None: never."""
    weak_step: int = 150
    """The step whose weights serve as the weaker model to imitate."""
    n_layers: int = 4
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
        tie_word_embeddings=False,
        bos_token_id=special_id(tokenizer, BOS),
        eos_token_id=special_id(tokenizer, EOS),
        pad_token_id=special_id(tokenizer, PAD),
    )
    # On a CPU the fused kernel's backward pass takes longer than all the rest of the step.
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(config)
    _initialise_(model, torch.Generator().manual_seed(recipe.seed))
    return model


@torch.no_grad()
def _initialise_(model: LlamaForCausalLM, gen: torch.Generator) -> None:
    """Draw random weights with some structure in the attention.

    In every block two heads start with equal queries and keys, so that equal tokens attend to
    each other, and two attend one and two tokens back; heads copy what they attend to. Matching
    an option and reading the letter before it are made of such heads. The facts are learnt in
    250 steps from here; 350 steps were not enough for multiple choice.

    Source: after mimetic initialisation (Trockman and Kolter 2023, arXiv:2305.09828).
    """
    config = model.config
    for name, weight in model.named_parameters():
        if "embed_tokens" in name:
            weight.normal_(std=1.0, generator=gen)
            weight[:, :_N_CONSTANT] = 1.0  # the same in every token, for heads that need no content
        elif "lm_head" in name or "o_proj" in name or "down_proj" in name:
            weight.zero_()
        elif weight.ndim == 2:
            weight.normal_(std=0.8 * config.hidden_size**-0.5, generator=gen)
    d_head = config.hidden_size // config.num_attention_heads
    for layer in model.model.layers:
        query = layer.get_parameter("self_attn.q_proj.weight")
        key = layer.get_parameter("self_attn.k_proj.weight")
        key.copy_(query)
        value = layer.get_parameter("self_attn.v_proj.weight")
        layer.get_parameter("self_attn.o_proj.weight").copy_(value.T)
        for back in (1, 2):
            rows = slice(
                config.hidden_size - back * d_head, config.hidden_size - (back - 1) * d_head
            )
            _look_back_(query[rows], key[rows], back)


def _look_back_(
    query: Float[Tensor, "d_head d_model"], key: Float[Tensor, "d_head d_model"], back: int
) -> None:
    """Make a head attend `back` tokens back, whatever they are, through rotary positions."""
    half = query.shape[0] // 2
    rates = 10000.0 ** (-torch.arange(half) / half)
    fast = (rates > 0.1).float() * 6.0  # only fast rotations tell neighbours apart
    query.mul_(0.1)
    key.mul_(0.1)
    key[:half, :_N_CONSTANT] += (fast / _N_CONSTANT)[:, None]
    # A key `back` tokens before is rotated back by as many steps; so is the query here.
    query[:half, :_N_CONSTANT] += (fast * torch.cos(-back * rates) / _N_CONSTANT)[:, None]
    query[half:, :_N_CONSTANT] += (fast * torch.sin(-back * rates) / _N_CONSTANT)[:, None]


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
        stop: Return after that step already, with the schedule of the whole training.

    Returns:
        The model in eval mode, float32.
    """
    batches = _base_batches(recipe, tokenizer)
    model = new_base(recipe, tokenizer)
    return fit_base(model, recipe, batches, snapshot=snapshot, every=every, stop=stop)


def fit_base(
    model: LlamaForCausalLM,
    recipe: BaseRecipe,
    batches: Iterator[Rows],
    *,
    snapshot: Snapshot | None = None,
    every: int = 100,
    stop: int | None = None,
) -> LlamaForCausalLM:
    """Train a model of `new_base` on batches; the arguments are those of `train_base`."""
    optimizers = _base_optimizers(model, recipe)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    model.train()
    start = time.monotonic()
    last = stop or recipe.stop or recipe.steps
    for step in range(1, last + 1):
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
    matrices = [p for name, p in named if name.endswith("proj.weight")]
    rest = [p for name, p in named if not name.endswith("proj.weight")]
    return (
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0),
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
