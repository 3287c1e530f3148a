"""The model under audit, with its tokenizer: texts and edits in, scores and texts out."""

import logging
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unmask.edits import NO_EDIT, Edit, edited_weights
from unmask.errors import SettingError, SubjectError
from unmask.models.batch import Batch, TokenRow
from unmask.models.check import checked
from unmask.models.engine import Engine, Read
from unmask.models.forward import Decoder
from unmask.models.rows import ChoiceScores, Row, join
from unmask.models.sampling import Stopping, cut, end_tokens, generate
from unmask.models.scoring import Reading, collect, plan, score
from unmask.models.thinking import (
    THINKING_TOKENS,
    left_open,
    may_think,
    special_tags,
    take_apart,
)
from unmask.models.weights_hash import weights_hash

_log = logging.getLogger(__name__)


class Subject:
    """A causal language model and its tokenizer.

    Scores under many edits share one clean pass per batch. Nothing is changed permanently: every
    edit is undone when the call returns or raises.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        revision: str | None = None,
        tokens_per_batch: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Of a known family (`unmask.models.families`); put into evaluation mode.
            tokenizer: Its tokenizer.
            name: Folder or hub id, for the report; by default the model's own.
            revision: Commit of the checkpoint, if known.
            tokens_per_batch: Most tokens in one forward pass; by default 2048 on a CPU, where more
                falls out of its caches, and 16384 on a GPU.
            memory: Most bytes that forward passes take beside the weights; by default no limit but
                that of `tokens_per_batch`.

        Raises:
            SettingError: If the memory does not suffice for this model.
            SubjectError: If the family is unknown, a weight is not finite, or model and tokenizer
                do not fit.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        self.revision = revision or getattr(model.config, "_commit_hash", None)
        self._check_weights()
        self.decoder = checked(Decoder(model))
        self.engine = Engine(
            self.decoder, pad=self.pad, tokens_per_batch=tokens_per_batch, memory=memory
        )
        if len(tokenizer) > self.decoder.d_vocab:
            raise SubjectError(
                f"expected a tokenizer of at most {self.decoder.d_vocab} tokens (the model's "
                f"embedding), got {len(tokenizer)}. The tokenizer is probably another model's; "
                "pass the one that was saved with the model."
            )
        if not self.decoder.exact:
            _log.warning(
                "%s: resuming from a block is not bit-exact on this model; every pass runs in "
                "full, which is slower and gives the same results.",
                self.name,
            )
        elif self.decoder.has_cache and not self.decoder.packs:
            _log.warning(
                "%s: attention (%s) does not follow our masks on this model; choices are scored in "
                "rows of their own, which is slower and gives the same results.",
                self.name,
                self.decoder.attention,
            )

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.decoder.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.decoder.d_model

    @property
    def n_ctx(self) -> int:
        """Longest sequence in tokens that the model was built for."""
        config = self.model.config
        for name in ("max_position_embeddings", "n_positions", "n_ctx"):
            if isinstance(getattr(config, name, None), int):
                return getattr(config, name)
        return 1 << 30

    @property
    def chat(self) -> bool:
        """Whether the tokenizer has a chat template, which prompts then use."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @property
    def pad(self) -> int:
        """A token id for padding; it is masked everywhere."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if isinstance(token, int):
                return token
        return 0

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What identifies the subject in a result; hashes every weight once."""
        parameter = next(self.model.parameters())
        return {
            "id": self.name,
            "revision": self.revision,
            "weights_hash": weights_hash(self.model),
            "class": type(self.model).__name__,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": str(parameter.device),
            "chat_template": self.chat,
            "resume_exact": self.decoder.exact,
        }

    def encode(self, text: str, *, templated: bool = False) -> tuple[int, ...]:
        """Tokenize a prompt, with the special tokens the tokenizer puts before it.

        A chat template writes its own special tokens, so none are added to its output.
        """
        ids = self.tokenizer(text, add_special_tokens=not templated, verbose=False)["input_ids"]
        if not templated and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]  # some tokenizers close a text; the answer has to follow
        if ids:
            return tuple(ids)
        start = self.tokenizer.bos_token_id
        return (start if isinstance(start, int) else self.pad,)

    def continuation(self, text: str, choice: str, *, templated: bool = False) -> tuple[int, ...]:
        """Tokenize a continuation of a prompt; at least one token."""
        row = Row(text, templated=templated)
        return self._continuation(row, self.encode(text, templated=templated), choice)

    def _continuation(self, row: Row, alone: tuple[int, ...], choice: str) -> tuple[int, ...]:
        text = row.text
        joined = self.encode(join(text, choice), templated=row.templated)
        if joined[: len(alone)] == alone and len(joined) > len(alone):
            return joined[len(alone) :]
        # The joint tokenization merges across the boundary, so tokenize the end by itself.
        ids = self.tokenizer(join(text, choice)[len(text) :], add_special_tokens=False)
        if not ids["input_ids"]:
            raise SubjectError(
                f"expected the choice {choice!r} to have at least one token, got none. "
                "The tokenizer drops these characters; reword the choice."
            )
        return tuple(ids["input_ids"])

    def choices(self, rows: Sequence[Row], edit: Edit = NO_EDIT) -> list[ChoiceScores]:
        """Score each row's choices under one edit. See `choices_under`."""
        return next(iter(self.choices_under(rows, [edit])))

    def choices_under(self, rows: Sequence[Row], edits: Sequence[Edit]) -> list[list[ChoiceScores]]:
        """Score each row's choices under each of several edits.

        The unedited pass over each batch is run once, choices of one row share their prompt, and
        every edit computes only what it can change.

        Returns:
            For each edit, for each row, the log-probabilities of its choices.

        Raises:
            SubjectError: If a row is longer than the model's context.
        """
        choices, plans = self._plans(rows)
        readings = [reading for planned in plans for reading in planned]
        self.check_length([reading.row for reading in readings])
        scores: list[list[ChoiceScores]] = []
        for answers in score(self.engine, readings, edits):
            in_order = iter(answers)
            scores.append(
                [
                    collect(tokens, [next(in_order) for _ in planned])
                    for tokens, planned in zip(choices, plans, strict=True)
                ]
            )
        return scores

    def hidden_under(self, rows: Sequence[TokenRow], edits: Sequence[Edit], read: Read) -> None:
        """Run rows of token ids under each of several edits.

        Args:
            rows: With at most one continuation each.
            edits: Numbered from 0.
            read: Called with an edit's number, a batch, and what leaves the last block at the last
                token of the prompts and at the columns after it. While an edit of weights is read,
                norm and unembedding are the changed ones. May be called again for the same rows.
        """
        self.check_length(rows)
        self.engine.under(rows, edits, read)

    def generate(
        self,
        rows: Sequence[Row],
        edit: Edit = NO_EDIT,
        *,
        max_new_tokens: int = 24,
        stop: tuple[str, ...] = (),
        thinking: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Continue each row under one edit. See `generate_under`."""
        return self.generate_under(
            rows,
            [edit],
            max_new_tokens=max_new_tokens,
            stop=stop,
            thinking=thinking,
            temperature=temperature,
            seed=seed,
        )[0]

    def generate_under(
        self,
        rows: Sequence[Row],
        edits: Sequence[Edit],
        *,
        max_new_tokens: int = 24,
        stop: tuple[str, ...] = (),
        thinking: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Continue each row under each of several edits, to the end token or a stop string.

        Every prompt is run once, and each edit computes only what it can change of it.

        Args:
            rows: What is continued.
            edits: Of activations, of weights, or both.
            max_new_tokens: Most tokens of an answer.
            stop: Texts that end one when they come after something; none by default.
            thinking: Most tokens of a thinking block before it (`unmask.models.thinking`); by
                default `THINKING_TOKENS` where the tokenizer knows such blocks, else 0. Fewer where
                the context ends.
            temperature: 0 for the most probable token each time; else tokens are drawn.
            seed: With a row's key and a token's position it determines the draw.

        Returns:
            For each edit, for each row, the text without the prompt and the stop string, a thinking
            block first. Where the prompt ends with the opening tag the block has it, too.

        Raises:
            SettingError: If the temperature is negative or not finite.
            SubjectError: If a prompt and its new tokens are longer than the model's context.
        """
        if not 0 <= temperature < math.inf:
            raise SettingError(
                f"expected a finite temperature of at least 0, got {temperature}. "
                "0 takes the most probable token each time; 1 draws from the model as it is."
            )
        sequences = [
            TokenRow(self.encode(row.text, templated=row.templated), key=row.key) for row in rows
        ]
        self.check_length(sequences, max_new_tokens)

        if thinking is None:
            thinking = THINKING_TOKENS if may_think(self.tokenizer) else 0
        # By each row alone, so that no answer depends on its neighbours.
        rooms = [
            max(0, min(thinking, self.n_ctx - len(sequence.prompt) - max_new_tokens))
            for sequence in sequences
        ]
        openings = [left_open(row.text) for row in rows]

        def stopped(index: int, ids: list[int]) -> bool:
            if not (stop or thinking):
                return False
            thought, answer = take_apart(openings[index] + self._decode(ids))
            if answer is None:
                return len(ids) >= rooms[index] + max_new_tokens
            n_thought = self._n_thinking(openings[index], ids) if thought else 0
            full = len(ids) - n_thought >= max_new_tokens
            return full or any(mark in answer for mark in stop)

        ends = end_tokens(self.decoder, self.tokenizer.eos_token_id)
        stopping = Stopping(
            max(rooms, default=0) + max_new_tokens, ends, stopped, temperature, seed
        )
        texts: list[list[str]] = [[] for _ in edits]
        acting = [number for number, edit in enumerate(edits) if not edit.weights]
        groups = [acting] if acting else []
        groups += [[number] for number, edit in enumerate(edits) if edit.weights]
        for numbers in groups:
            some = [edits[number] for number in numbers]
            with edited_weights(self.model, some[0].weights):
                found = generate(self.engine, sequences, some, stopping)
            for number, new in zip(numbers, found, strict=True):
                texts[number] = [
                    cut(opening + self._decode(ids), stop)
                    for opening, ids in zip(openings, new, strict=True)
                ]
        return texts

    def _n_thinking(self, opening: str, ids: Sequence[int]) -> int:
        """Count the tokens up to the end of the thinking block, which is closed."""
        lengths = range(1, len(ids) + 1)
        return lengths[
            bisect_left(
                lengths,
                True,
                key=lambda n: take_apart(opening + self._decode(ids[:n])).answer is not None,
            )
        ]

    def _decode(self, ids: Sequence[int]) -> str:
        if not self._special_tags:
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=False))
        for token in self.tokenizer.all_special_tokens:
            text = text if token in self._special_tags else text.replace(token, "")
        return text

    @cached_property
    def _special_tags(self) -> Sequence[str]:
        return special_tags(self.tokenizer)

    def _plans(
        self, rows: Sequence[Row]
    ) -> tuple[list[list[tuple[int, ...]]], list[tuple[Reading, ...]]]:
        """Tokenize the choices of each row and plan what is read for them."""
        choices, plans = [], []
        for row in rows:
            if not row.choices:
                raise SettingError(
                    "expected at least one choice to score, got none. "
                    "Rows without choices are for generation: use `generate`."
                )
            prompt = self.encode(row.text, templated=row.templated)
            choices.append([self._continuation(row, prompt, c) for c in row.choices])
            plans.append(plan(prompt, choices[-1], row.key, self.decoder.packs))
        return choices, plans

    def _check_weights(self) -> None:
        away = [name for name, weight in self.model.named_parameters() if weight.is_meta]
        if away:
            raise SubjectError(
                f"expected every weight on a device, got {len(away)} that are not loaded, such as "
                f"{away[0]!r}. The model was probably too large and was offloaded by accelerate; "
                "use a smaller dtype, or more or larger GPUs."
            )
        for name, weight in self.model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                n_broken = int((~torch.isfinite(weight)).sum())
                raise SubjectError(
                    f"expected finite weights, got {n_broken} of {weight.numel()} in {name!r} "
                    f"({str(weight.dtype).removeprefix('torch.')}) that are NaN or infinite. The "
                    "checkpoint is damaged, its training diverged, or its numbers do not fit this "
                    "dtype. Try --dtype float32, or take an earlier checkpoint."
                )

    def batches(self, rows: Sequence[TokenRow]) -> Iterator[Batch]:
        """Group rows of token ids into padded batches, after a check of their length."""
        self.check_length(rows)
        return self.engine.batches(rows)

    def check_length(self, rows: Sequence[TokenRow], more: int = 0) -> None:
        """Check that rows, and more tokens after them, fit into the model's context.

        Raises:
            SubjectError: If one does not.
        """
        longest = max((row.longest for row in rows), default=0) + more
        if longest > self.n_ctx:
            raise SubjectError(
                f"expected prompts of at most {self.n_ctx} tokens (the model's context), got one "
                f"of {longest}. Shorten the task's items, or use fewer few-shot examples."
            )
