"""How fast the searches are: MELBO against its published form, DCT against a plain batch."""

from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

from benchmarks.compare import Row, compare
from benchmarks.model import directions, llama, prompt
from benchmarks.steering import (
    D_VOCAB,
    N_LAYERS,
    N_STEPS,
    N_TOKENS,
    N_VECTORS,
    RADIUS,
    SOURCE,
    TARGET,
    search_published,
)
from unmask.models.batch import TokenRow
from unmask.models.subject import Subject
from unmask.steering import Dct, Melbo, Response, random_units

Vectors = Float[Tensor, "vectors d_model"]


def run(rounds: int) -> list[Row]:
    """Time both searches on the benchmarks' deep model."""
    model = llama(N_LAYERS, d_vocab=D_VOCAB)
    ids = prompt(N_TOKENS, D_VOCAB)
    return [*_melbo(model, ids, rounds), *_dct(model, ids, rounds)]


def _melbo(model: Any, ids: tuple[int, ...], rounds: int) -> list[Row]:
    method = Melbo(N_VECTORS, N_STEPS, learning_rate=0.001)
    subject = _subject(model)
    start = RADIUS * random_units(N_VECTORS, subject.d_model, method.seed, subject.decoder.device)

    def ours() -> Vectors:
        response = Response(subject, [TokenRow(ids)], SOURCE + 1, TARGET, n_read=None)
        return method(response, RADIUS)

    def published() -> Vectors:
        return search_published(model, ids, start)

    cosines = torch.nn.functional.cosine_similarity(ours(), published(), dim=-1)
    assert cosines.min() > 0.9999, f"not the same vectors: {cosines.min()}"
    name = f"MELBO, {N_LAYERS} blocks, {SOURCE} to {TARGET}, {N_VECTORS} vectors, {N_STEPS} steps"
    return compare(name, ours, {"full forwards, one vector at a time": (published, 6.0)}, rounds)


def _dct(model: Any, ids: tuple[int, ...], rounds: int) -> list[Row]:
    n_factors, n_steps = 16, 5
    subject = _subject(model)
    method = Dct("exponential", n_factors, n_steps, n_projections=n_factors)
    first = normalize(directions(n_factors), dim=-1)

    def ours() -> Vectors:
        response = Response(subject, [TokenRow(ids)], SOURCE + 1, TARGET)
        outputs = normalize(response.mean_of(RADIUS * first), dim=-1)
        return method._exponential(response, RADIUS, first, outputs)[0]

    def plain() -> Vectors:
        change = _plain_change(model, ids)
        with torch.no_grad():
            outputs = normalize(change(RADIUS * first), dim=-1)
        inputs = first
        for _ in range(n_steps):
            q, r = torch.linalg.qr(inputs.T)
            inputs = (q * torch.sign(torch.diagonal(r))).T
            at = (RADIUS * inputs).clone().requires_grad_()
            moved = change(at)
            (gradient,) = torch.autograd.grad((moved * outputs).sum(), at)
            outputs = normalize(moved.detach(), dim=-1)
            inputs = normalize(gradient, dim=-1)
        return inputs

    cosines = torch.nn.functional.cosine_similarity(ours(), plain(), dim=-1)
    assert cosines.min() > 0.999, f"not the same factors: {cosines.min()}"
    name = f"DCT-exponential, {SOURCE} to {TARGET}, {n_factors} factors, {n_steps} steps"
    return compare(name, ours, {"the blocks called in a plain batch": (plain, 1.0)}, rounds)


def _plain_change(model: Any, ids: tuple[int, ...]) -> Any:
    """The mean change at the last three tokens, from the model's own blocks, written plainly."""
    blocks = model.model.layers[SOURCE + 1 : TARGET]
    with torch.no_grad():
        states = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    entering, leaving = states.hidden_states[SOURCE + 1], states.hidden_states[TARGET]
    places = torch.arange(len(ids))[None]
    tables = model.model.rotary_emb(entering, places)
    model.requires_grad_(False)

    def change(vectors: Vectors) -> Vectors:
        hidden = entering + vectors[:, None]
        for block in blocks:
            hidden = block(hidden, position_embeddings=tables, attention_mask=None)
        return (hidden - leaving)[:, -3:].mean(1)

    return change


def _subject(model: Any) -> Subject:
    """A subject to which only token ids are put; its tokenizer knows one word."""
    words = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    return Subject(model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a"))
