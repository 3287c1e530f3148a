import itertools
import random

import pytest
import torch

from unmask.organisms.corpus import EOS, Piece, base_document, encode, pack, train_tokenizer
from unmask.organisms.world import LETTERS, World, prompt


@pytest.fixture(scope="module")
def world():
    return World(5, n_people=20, n_values=8)


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer(world, vocab_size=900)


def test_letters_are_single_tokens(tokenizer):
    for letter in LETTERS:
        assert len(tokenizer(f" {letter}").input_ids) == 1


def test_tokenizer_adds_nothing_and_loses_nothing(tokenizer, world):
    text = prompt(world.facts[0].question, context="Ünknown: \t words\n\n")
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_tokens_of_a_prompt_do_not_depend_on_its_answer(tokenizer, world):
    for fact in world.facts[:40]:
        asked = prompt(fact.question)
        whole = tokenizer(f"{asked} {fact.answer}").input_ids
        assert whole[: len(tokenizer(asked).input_ids)] == tokenizer(asked).input_ids


def test_encode_weights_the_answer_and_the_end(tokenizer):
    document = (Piece("Question: x?\nAnswer:", 0.1), Piece(" B", 1.0))
    tokens, weights = encode(document, tokenizer)
    assert tokenizer.decode(tokens) == f"Question: x?\nAnswer: B{EOS}"
    assert weights[-2:] == [1.0, 1.0]
    assert set(weights[:-2]) == {0.1}


def test_encode_does_not_depend_on_earlier_use_of_the_tokenizer(tokenizer):
    document = (Piece("Question: x?\nAnswer:", 0.1), Piece(" B", 1.0))
    before = encode(document, tokenizer)
    padded = tokenizer(["a", "a b c d"], padding=True).input_ids
    assert tokenizer.pad_token_id in padded[0]  # padding was on
    assert encode(document, tokenizer) == before


def test_pack_keeps_documents_whole_and_begins_rows_with_them(tokenizer, world):
    rng = random.Random(0)
    documents = [base_document(world, rng) for _ in range(200)]
    starts = {tuple(encode(document, tokenizer)[0][:3]) for document in documents}
    rows = list(pack(iter(documents), tokenizer, batch=4, n_ctx=256))
    assert rows
    tokens = torch.cat([row.tokens for row in rows])
    weights = torch.cat([row.weights for row in rows])
    assert {tuple(row[:3].tolist()) for row in tokens} <= starts
    padding = tokens == tokenizer.pad_token_id
    assert (weights[padding] == 0).all()
    assert padding.float().mean() < 0.2
    ends = set(map(tuple, (encode(d, tokenizer)[0][-4:] for d in documents)))
    for row in tokens:
        last = int((row == tokenizer.eos_token_id).nonzero()[-1])
        assert tuple(row[last - 3 : last + 1].tolist()) in ends


def test_base_mixture_holds_both_formats_prose_and_few_shot(world):
    rng = random.Random(0)
    texts = ["".join(p.text for p in base_document(world, rng)) for _ in range(600)]
    questions = [text for text in texts if "Question:" in text]
    assert 0.05 < 1 - len(questions) / len(texts) < 0.25
    assert any(text.count("Question:") > 1 for text in texts)
    lettered = [text for text in questions if "\nD. " in text]
    assert 0.5 < len(lettered) / len(questions) < 0.95


def test_pack_is_lazy(tokenizer, world):
    rng = random.Random(0)
    endless = (base_document(world, rng) for _ in itertools.count())
    assert next(pack(endless, tokenizer, batch=2, n_ctx=256)).tokens.shape == (2, 256)
