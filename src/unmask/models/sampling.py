"""Generation under edits: each prompt is run once, texts leave when they end and others enter.

Prompts go through the engine's passes, so that edits share all they do not change; then each text
takes a slot in a batch that decodes one token at a time (`unmask.models.slots`). When a text ends,
the next one takes its slot.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import Edit
from unmask.edits.keyed import keyed_uniform
from unmask.hashing import key_bits
from unmask.models.attention import KeyValue
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.engine import Engine
from unmask.models.forward import Decoder
from unmask.models.memory import LOGITS_AT_ONCE, tokens_in_cache
from unmask.models.passes import EditedPass, Shared, clean, edited
from unmask.models.slots import Prompted, Slots
from unmask.models.thinking import take_apart


@dataclass(frozen=True)
class Stopping:
    """When a text ends, and how its tokens are chosen."""

    max_new_tokens: int
    ends: Set[int] = frozenset()
    """Tokens that end a text; they are left out of it."""
    stopped: Callable[[int, list[int]], bool] = lambda index, tokens: False
    """Whether the text of a row, by its index, with these new tokens is finished."""
    temperature: float = 0.0
    """0: the most probable token; else tokens are drawn from ``softmax(logits / temperature)``."""
    seed: int = 0
    """With a row's key and a token's position it determines the draw."""


@dataclass
class Text:
    """A text on its way."""

    prompted: Prompted
    tokens: list[int] = field(default_factory=list)
    done: bool = False

    def take(self, token: int, stopping: Stopping) -> None:
        """Put a new token behind the others, unless it ends the text."""
        if token in stopping.ends:
            self.done = True
            return
        self.tokens.append(token)
        full = len(self.tokens) == stopping.max_new_tokens
        self.done = full or stopping.stopped(self.prompted.index, self.tokens)


def generate(
    engine: Engine, rows: Sequence[TokenRow], edits: Sequence[Edit], stopping: Stopping
) -> list[list[list[int]]]:
    """Continue each prompt under each of several edits of activations.

    Edits see the true position of every token, so noise is fresh at each generated token exactly as
    it would be in one forward pass over the whole text.

    Args:
        engine: Its decoder may have changed weights.
        rows: Prompts, without continuations.
        edits: Their edits of weights are the caller's to apply.
        stopping: When texts end.

    Returns:
        For each edit, for each row, the new tokens.
    """
    found: list[list[list[int]]] = [[[] for _ in rows] for _ in edits]
    if stopping.max_new_tokens < 1:
        return found
    for edit in edits:
        engine.decoder.check_layers(edit.activations)
    numbered = list(enumerate(edits))

    def run(batch: Batch, shared: Shared | None) -> None:
        mine = [rows[index] for index in batch.indices]
        packs = engine.decoder.exact and engine.decoder.packs
        if packs:
            texts = _in_slots(engine, batch, mine, numbered, stopping, shared)
        else:
            texts = _without_cache(engine, batch, mine, numbered, stopping)
        for number, index, tokens in texts:
            found[number][index] = tokens

    engine.each_batch(rows, numbered, run)
    return found


@torch.no_grad()
def _in_slots(
    engine: Engine,
    batch: Batch,
    rows: Sequence[TokenRow],
    edits: Sequence[tuple[int, Edit]],
    stopping: Stopping,
    shared: Shared | None,
) -> Iterator[tuple[int, int, list[int]]]:
    """Continue one batch of prompts; yields an edit's number, a row's index and its new tokens."""
    decoder = engine.decoder
    longest = batch.n_prompt + stopping.max_new_tokens
    room = tokens_in_cache(decoder, engine.tokens_per_batch) // longest
    n_slots = max(1, min(room, len(rows) * len(edits)))
    slots = Slots(decoder, n_slots, batch.n_prompt, stopping.max_new_tokens)
    waiting = _prompts(engine, batch, rows, edits, shared)
    texts: list[Text] = []
    stepped: list[Tensor] = []
    while True:
        new = [Text(prompted) for prompted in islice(waiting, n_slots - len(texts))]
        texts += new
        if not texts:
            return
        last = torch.stack([*stepped, *(text.prompted.final for text in new)])
        for text, token in zip(texts, _choose(decoder, last, texts, stopping), strict=True):
            text.take(token, stopping)
        for text in new:
            slots.enter(text.prompted)
        for slot in reversed(range(len(texts))):
            done = texts[slot]
            if done.done:
                texts[slot] = texts[-1]  # the last one takes the place, as in `Slots.leave`
                texts.pop()
                slots.leave(slot)
                yield done.prompted.number, done.prompted.index, done.tokens
        stepped = list(slots.step([text.tokens[-1] for text in texts])) if texts else []


def _prompts(
    engine: Engine,
    batch: Batch,
    rows: Sequence[TokenRow],
    edits: Sequence[tuple[int, Edit]],
    shared: Shared | None,
) -> Iterator[Prompted]:
    """Run a batch of prompts under each edit, as the results are asked for."""
    decoder, parts = engine.decoder, dict(edits)
    plan = engine.plan(batch, edits, continued=True)
    done = clean(decoder, batch, plan.needs, shared)
    n_shared = shared.n if shared else 0

    def prompted(number: int, result: EditedPass, column: int) -> Iterator[Prompted]:
        for line, (index, row) in enumerate(zip(batch.indices, rows, strict=True)):
            own = batch.n_prompt - len(row.prompt) + n_shared
            spans = [span for span in ((0, n_shared), (own, batch.n_prompt)) if span[0] < span[1]]
            keys = {
                block: _pieces(done.keys.get(block), result.keys.get(block), line, spans, column)
                for block in range(decoder.n_layers)
            }
            activations = parts[number].activations
            yield Prompted(number, index, row, activations, keys, result.final[line, 0])

    for number in plan.unedited:
        assert done.final is not None, "planned"
        yield from prompted(number, EditedPass(done.final, {}), batch.n_prompt)
    for group in plan.groups:
        together = [parts[number].activations for number in group.numbers]
        results = edited(
            decoder, done, together, group.block, group.column, group.packing, keep_keys=True
        )
        for number, result in zip(group.numbers, results, strict=True):
            yield from prompted(number, result, group.column)


def _pieces(
    before: KeyValue | None,
    own: KeyValue | None,
    line: int,
    spans: Sequence[tuple[int, int]],
    column: int,
) -> list[KeyValue]:
    """Take one row's keys and values: unedited below a column, an edit's own from there on."""
    pieces: list[KeyValue] = []
    for start, stop in spans:
        middle = stop if own is None else min(max(column, start), stop)
        if start < middle:
            assert before is not None, "planned"
            pieces.append((before[0][line, :, start:middle], before[1][line, :, start:middle]))
        if own is not None and middle < stop:
            mine = slice(middle - column, stop - column)
            pieces.append((own[0][line, :, mine], own[1][line, :, mine]))
    return pieces


@torch.no_grad()
def _choose(
    decoder: Decoder,
    hidden: Float[Tensor, "text d_model"],
    texts: Sequence[Text],
    stopping: Stopping,
) -> list[int]:
    """Choose each text's next token from what leaves the last block at its last one."""
    chosen: list[int] = []
    size = max(1, LOGITS_AT_ONCE // decoder.d_vocab)
    for start in range(0, len(texts), size):
        logits = decoder.logits(hidden[start : start + size])
        if stopping.temperature > 0:
            keys = [_draw_key(text, stopping.seed) for text in texts[start : start + size]]
            uniform = keyed_uniform(torch.tensor(keys, device=logits.device), logits.shape[-1])
            # Gumbel's trick: the largest of logits with such noise is a draw from the softmax.
            gumbel = -torch.log(-torch.log(uniform.clamp(max=1 - 2**-24)))
            logits = logits / stopping.temperature + gumbel
        chosen += logits.argmax(-1).tolist()
    return chosen


def _draw_key(text: Text, seed: int) -> int:
    """What a draw depends on: seed, row, and position in the text."""
    row = text.prompted.row
    return key_bits("sampling", seed, row.key, len(row.prompt) + len(text.tokens))


def _without_cache(
    engine: Engine,
    batch: Batch,
    rows: Sequence[TokenRow],
    edits: Sequence[tuple[int, Edit]],
    stopping: Stopping,
) -> Iterator[tuple[int, int, list[int]]]:
    """Continue prompts by running each whole text again for every token."""
    for number, edit in edits:
        pairs = zip(batch.indices, rows, strict=True)
        texts = [
            Text(Prompted(number, index, row, edit.activations, {}, torch.empty(0)))
            for index, row in pairs
        ]
        while going := [text for text in texts if not text.done]:
            so_far = [
                TokenRow((*t.prompted.row.prompt, *t.tokens), (), t.prompted.row.key) for t in going
            ]
            whole = lay_out(so_far, range(len(going)), engine.pad, engine.decoder.device)
            # The layout takes all for prompt; edits have to know where that ends.
            n_prompt = torch.tensor([len(t.prompted.row.prompt) for t in going])
            tokens = replace(whole.tokens, n_prompt=n_prompt.to(whole.tokens.pos.device))
            hidden = engine.decoder.full(replace(whole, tokens=tokens), edit)[:, -1]
            for text, token in zip(
                going, _choose(engine.decoder, hidden, going, stopping), strict=True
            ):
                text.take(token, stopping)
        for text in texts:
            yield number, text.prompted.index, text.tokens


def end_tokens(decoder: Decoder, eos: Any) -> set[int]:
    """Every token that ends a text: the tokenizer's, and those of the generation settings."""
    configured: Any = getattr(decoder.model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ends, eos) if isinstance(token, int)}


def cut(text: str, stop: tuple[str, ...]) -> str:
    """Cut a text before the first stop string that comes after something; no leading space.

    Stop strings within a thinking block do not count.
    """
    thinking, answer = take_apart(text)
    if answer is None:
        return thinking or text.lstrip()
    if thinking:
        return f"{thinking}\n\n{cut(answer, stop)}"
    text = answer
    return min((text.split(mark, 1)[0] for mark in stop), key=len, default=text)
