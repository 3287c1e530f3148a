"""The model under audit, with its tokenizer: texts and edits in, scores and texts out."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unmask.edits import NO_EDIT, Edit, edited_weights
from unmask.errors import SettingError, SubjectError
from unmask.models.batch import Batch, TokenRow, make_batches
from unmask.models.forward import Decoder, last_positions
from unmask.models.rows import ChoiceScores, Row, join
from unmask.models.sampling import greedy
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
        tokens_per_batch: int = 4096,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Of a known family (`unmask.models.families`); put into evaluation mode.
            tokenizer: Its tokenizer.
            name: Folder or hub id, for the report; by default the model's own.
            revision: Commit of the checkpoint, if known.
            tokens_per_batch: Most tokens in one forward pass.

        Raises:
            SubjectError: If the family is unknown, or model and tokenizer do not fit.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        self.revision = revision or getattr(model.config, "_commit_hash", None)
        self.tokens_per_batch = tokens_per_batch
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            raise SubjectError(
                f"expected a tokenizer of at most {model.get_input_embeddings().weight.shape[0]} "
                f"tokens (the model's embedding), got {len(tokenizer)}. The tokenizer is probably "
                "another model's; pass the one that was saved with the model."
            )
        self.decoder = Decoder(model)
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
        return int(self.model.get_input_embeddings().weight.shape[1])  # type: ignore[arg-type]

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

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenize a prompt, with the special tokens the tokenizer puts before it.

        A chat template writes its own special tokens, so none are added to its output.
        """
        ids = self.tokenizer(text, add_special_tokens=not self.chat)["input_ids"]
        if not self.chat and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]  # some tokenizers close a text; the answer has to follow
        if ids:
            return tuple(ids)
        start = self.tokenizer.bos_token_id
        return (start if isinstance(start, int) else self.pad,)

    def continuation(self, text: str, choice: str) -> tuple[int, ...]:
        """Tokenize a continuation of a prompt; at least one token."""
        alone, joined = self.encode(text), self.encode(join(text, choice))
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
        plan = [self._sequences(row) for row in rows]
        flat = [sequence for sequences, _ in plan for sequence in sequences]
        answers = [answer for _, answers in plan for answer in answers]
        found: list[list[tuple[list[float], int]]] = [[([], -1)] * len(flat) for _ in edits]
        for number, batch, hidden in self.hidden_under(flat, edits):
            for index, scored in zip(
                batch.indices, self._score(batch, hidden, flat, answers), strict=True
            ):
                found[number][index] = scored
        return [self._collect(plan, one) for one in found]

    def hidden_under(
        self, rows: Sequence[TokenRow], edits: Sequence[Edit]
    ) -> Iterator[tuple[int, Batch, Float[Tensor, "batch pos d_model"]]]:
        """Run rows under each of several edits.

        Yields:
            The edit's number, a batch of rows, and what leaves the last block at the batch's last
            positions: those that predict a continuation. Changed weights stay changed until the
            next step of the iteration, so that norm and unembedding are the edited ones.
        """
        reusing = [number for number, edit in enumerate(edits) if not edit.weights]
        for batch in self._batches(rows) if reusing else ():
            clean = self.decoder.clean(batch)
            for number in reusing:
                hidden = self.decoder.run(clean, edits[number])
                yield number, batch, last_positions(hidden, batch.max_continuation + 1)
        for number, edit in enumerate(edits):
            if edit.weights:
                with edited_weights(self.model, edit.weights):
                    for batch in self._batches(rows):
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
        sequences = [TokenRow(self.encode(row.text), key=row.key) for row in rows]
        self._check_length(sequences, max_new_tokens)
        texts = [""] * len(rows)
        with edited_weights(self.model, edit.weights):
            for batch in self._batches(sequences):
                for index, text in zip(
                    batch.indices,
                    greedy(
                        self.decoder,
                        self.tokenizer,
                        batch,
                        edit.activations,
                        max_new_tokens=max_new_tokens,
                        stop=stop,
                    ),
                    strict=True,
                ):
                    texts[index] = text
        return texts

    def _sequences(self, row: Row) -> tuple[list[TokenRow], list[tuple[int, ...]]]:
        """Plan a row: one sequence if every choice is one token, else one for each choice.

        Returns:
            The sequences, and for each of them the token ids whose log-probability is read: all the
            choices' after the prompt, or those of one choice, one after the other.
        """
        if not row.choices:
            raise SettingError(
                "expected at least one choice to score, got none. "
                "Rows without choices are for generation: use `generate`."
            )
        prompt = self.encode(row.text)
        choices = [self.continuation(row.text, choice) for choice in row.choices]
        if all(len(choice) == 1 for choice in choices):
            return [TokenRow(prompt, key=row.key)], [tuple(choice[0] for choice in choices)]
        # The last token of a choice predicts nothing that is scored.
        return [TokenRow(prompt, choice[:-1], row.key) for choice in choices], choices

    def _score(
        self,
        batch: Batch,
        hidden: Float[Tensor, "batch pos d_model"],
        flat: Sequence[TokenRow],
        answers: Sequence[tuple[int, ...]],
    ) -> Iterator[tuple[list[float], int]]:
        """Yield each row's wanted log-probabilities and its most probable first token."""
        width = hidden.shape[1]
        firsts = [width - 1 - len(flat[index].continuation) for index in batch.indices]
        wanted = [list(range(first, width)) for first in firsts]
        lines = torch.tensor([line for line, ps in enumerate(wanted) for _ in ps])
        places = torch.tensor([place for ps in wanted for place in ps])
        log_probs = torch.cat(
            [
                self.decoder.logits(chunk).log_softmax(-1).cpu()
                for chunk in hidden[lines.to(hidden.device), places.to(hidden.device)].split(1024)
            ]
        )
        at = 0
        for index, ps in zip(batch.indices, wanted, strict=True):
            mine = log_probs[at : at + len(ps)]
            at += len(ps)
            ids = torch.tensor(answers[index])
            read = mine[torch.arange(len(ids)), ids] if len(ps) > 1 else mine[0, ids]
            yield read.tolist(), int(mine[0].argmax())

    def _collect(
        self,
        plan: Sequence[tuple[list[TokenRow], list[tuple[int, ...]]]],
        found: Sequence[tuple[list[float], int]],
    ) -> list[ChoiceScores]:
        scores, at = [], 0
        for sequences, choices in plan:
            mine = found[at : at + len(sequences)]
            at += len(sequences)
            if len(sequences) == 1 and len(sequences[0].continuation) == 0 and len(mine[0][0]) > 0:
                log_probs, top = mine[0]
                scores.append(
                    ChoiceScores(tuple(log_probs), (1,) * len(log_probs), top in choices[0])
                )
                continue
            scores.append(
                ChoiceScores(
                    tuple(sum(read) for read, _ in mine),
                    tuple(len(choice) for choice in choices),
                    mine[0][1] in {choice[0] for choice in choices},
                )
            )
        return scores

    def _batches(self, rows: Sequence[TokenRow]) -> Iterator[Batch]:
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
                f"expected prompts of at most {self.n_ctx} tokens (the model's context), got one of "
                f"{longest}. Shorten the task's items, or use fewer few-shot examples."
            )
