"""The model under audit, with its tokenizer: texts and edits in, scores and texts out."""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unmask.edits import NO_EDIT, Edit, edited_weights
from unmask.errors import SettingError, SubjectError
from unmask.models.batch import Batch, TokenRow, make_batches
from unmask.models.forward import Decoder, last_positions
from unmask.models.rows import ChoiceScores, Row, join
from unmask.models.sampling import cut, end_tokens, greedy
from unmask.models.scoring import Answer, Reading, collect, plan, read
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
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Of a known family (`unmask.models.families`); put into evaluation mode.
            tokenizer: Its tokenizer.
            name: Folder or hub id, for the report; by default the model's own.
            revision: Commit of the checkpoint, if known.
            tokens_per_batch: Most tokens in one forward pass; by default 2048 on a CPU, where more
                falls out of its caches, and 16384 on a GPU.

        Raises:
            SubjectError: If the family is unknown, or model and tokenizer do not fit.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        self.revision = revision or getattr(model.config, "_commit_hash", None)
        self._check_weights()
        self.decoder = Decoder(model)
        on_cpu = self.decoder.device.type == "cpu"
        self.tokens_per_batch = tokens_per_batch or (2048 if on_cpu else 16384)
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

    def continuation(self, text: str, choice: str) -> tuple[int, ...]:
        """Tokenize a continuation of a prompt; at least one token."""
        return self._continuation(Row(text), self.encode(text), choice)

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

        The unedited pass over each batch is run once and resumed for every edit, from the first
        block that the edit can change.

        Returns:
            For each edit, for each row, the log-probabilities of its choices.

        Raises:
            SubjectError: If a row is longer than the model's context.
        """
        choices, plans = self._plans(rows)
        readings = [reading for planned in plans for reading in planned]
        answers: list[dict[int, Answer]] = [{} for _ in edits]
        with closing(self.hidden_under([r.row for r in readings], edits)) as passes:
            for number, batch, hidden in passes:
                wanted = [readings[index] for index in batch.indices]
                found = read(self.decoder, hidden, wanted)
                answers[number].update(zip(batch.indices, found, strict=True))
        scores: list[list[ChoiceScores]] = []
        for found in answers:
            in_order = iter([found[index] for index in range(len(readings))])
            scores.append(
                [
                    collect(tokens, [next(in_order) for _ in planned])
                    for tokens, planned in zip(choices, plans, strict=True)
                ]
            )
        return scores

    def hidden_under(
        self, rows: Sequence[TokenRow], edits: Sequence[Edit]
    ) -> Generator[tuple[int, Batch, Float[Tensor, "batch pos d_model"]], None, None]:
        """Run rows under each of several edits.

        Yields:
            The edit's number, a batch of rows, and what leaves the last block at the batch's last
            positions: those that predict a continuation. Changed weights stay changed until the
            next step of the iteration, so that norm and unembedding are the edited ones: close the
            iterator (`contextlib.closing`), or an exception's traceback keeps them changed.
        """
        reusing = [number for number, edit in enumerate(edits) if not edit.weights]
        for batch in self.batches(rows) if reusing else ():
            clean = self.decoder.clean(batch)
            for number in reusing:
                hidden = self.decoder.run(clean, edits[number])
                yield number, batch, last_positions(hidden, batch.max_continuation + 1)
        for number, edit in enumerate(edits):
            if edit.weights:
                with edited_weights(self.model, edit.weights):
                    for batch in self.batches(rows):
                        hidden = self.decoder.full(batch, edit)
                        yield number, batch, last_positions(hidden, batch.max_continuation + 1)

    def generate(
        self,
        rows: Sequence[Row],
        edit: Edit = NO_EDIT,
        *,
        max_new_tokens: int = 24,
        stop: tuple[str, ...] = ("\n",),
    ) -> list[str]:
        """Continue each row greedily under an edit, to the end token or a stop string.

        Returns:
            The generated text of each row, without the prompt and the stop string.
        """
        sequences = [
            TokenRow(self.encode(row.text, templated=row.templated), key=row.key) for row in rows
        ]
        self._check_length(sequences, max_new_tokens)
        ends = end_tokens(self.decoder, self.tokenizer.eos_token_id)
        texts = [""] * len(rows)

        def stopped(ids: list[int]) -> bool:
            text = self._decode(ids).lstrip()
            return any(mark in text for mark in stop)

        with edited_weights(self.model, edit.weights):
            for batch in self.batches(sequences):
                new = greedy(
                    self.decoder,
                    batch,
                    edit.activations,
                    max_new_tokens=max_new_tokens,
                    ends=ends,
                    stopped=stopped,
                )
                for index, ids in zip(batch.indices, new, strict=True):
                    texts[index] = cut(self._decode(ids), stop)
        return texts

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

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
            plans.append(plan(prompt, choices[-1], row.key))
        return choices, plans

    def _check_weights(self) -> None:
        away = [name for name, weight in self.model.named_parameters() if weight.is_meta]
        if away:
            raise SubjectError(
                f"expected every weight on a device, got {len(away)} that are not loaded, such as "
                f"{away[0]!r}. The model was probably too large and was offloaded by accelerate; "
                "use a smaller dtype, or more or larger GPUs."
            )

    def batches(self, rows: Sequence[TokenRow]) -> Iterator[Batch]:
        """Group rows of token ids into padded batches, after a check of their length."""
        self._check_length(rows)
        return make_batches(
            rows,
            tokens_per_batch=self.tokens_per_batch,
            pad=self.pad,
            device=self.decoder.device,
        )

    def _check_length(self, rows: Sequence[TokenRow], more: int = 0) -> None:
        longest = max((len(row) for row in rows), default=0) + more
        if longest > self.n_ctx:
            raise SubjectError(
                f"expected prompts of at most {self.n_ctx} tokens (the model's context), got one "
                f"of {longest}. Shorten the task's items, or use fewer few-shot examples."
            )
