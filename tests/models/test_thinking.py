"""Thinking blocks: what is the answer, and how many tokens each part may have."""

import doctest
import json
from pathlib import Path

import pytest
from tiny import build, tokenizer

from unmask.models import Row, thinking
from unmask.models.loading import load_subject
from unmask.models.subject import Subject
from unmask.models.thinking import close, left_open, may_think, take_apart

CASE = Path(__file__).parents[2].parent / "shared" / "cases" / "07-thinking-model"


def test_examples():
    assert doctest.testmod(thinking).failed == 0


@pytest.mark.parametrize("opening, closing", thinking.TAGS)
def test_a_text_is_taken_apart_at_the_closing_tag(opening, closing):
    block = f"{opening}a b{closing}"
    assert take_apart(f" {block}\nc\nd") == (block, "c\nd")
    assert take_apart(f"{opening}a b") == (f"{opening}a b", None)
    assert take_apart(f"c {block}") == ("", f"c {block}")
    assert take_apart(f"{block}\n{block} c") == (block + block, "c")
    assert take_apart(f"a b{closing}\nc") == (f"a b{closing}", "c")  # the prompt opened it
    assert left_open(f"User: x\n{opening}\n") == opening
    assert close(f"x{opening}\n") == f"x{opening}\n\n{closing}\n\n"
    assert close("x") == "x"


class Scripted(Subject):
    """Decodes every text as a script: one word for each new token."""

    script = "<think> a b </think> c d e f".split()

    def _decode(self, ids):
        return " ".join(self.script[: len(ids)])


def scripted(words, opening=""):
    tok = tokenizer()
    tok.chat_template = "<think></think>"
    try:
        subject = Scripted(build("llama"), tok)
        subject.script = words.split()
        row = Row(f"Hello {opening}")
        return lambda **options: subject.generate([row], **options)[0]
    finally:
        tok.chat_template = None


def test_the_answer_has_its_tokens_after_the_block():
    generate = scripted("<think> a b </think> c d e f")
    assert generate(max_new_tokens=2, thinking=20) == "<think> a b </think>\n\nc d"
    assert generate(max_new_tokens=3, thinking=20) == "<think> a b </think>\n\nc d e"
    # A block that does not end in time has no answer, and takes the room of both.
    assert generate(max_new_tokens=1, thinking=2) == "<think> a b"
    assert generate(max_new_tokens=3, thinking=0) == "<think> a b"


@pytest.mark.parametrize("thinks", [True, False])
def test_by_default_who_may_think_has_room_for_it(monkeypatch, thinks):
    monkeypatch.setattr("unmask.models.subject.may_think", lambda tokenizer: thinks)
    text = scripted("<think> a b </think> c d e f")(max_new_tokens=2)
    assert text == ("<think> a b </think>\n\nc d" if thinks else "<think> a")


def test_room_to_think_does_not_depend_on_the_other_rows():
    subject = Scripted(build("llama"), tokenizer())
    subject.script = ["<think>", *["a"] * 200]
    short, long = Row("Hi", key=1), Row("Hi " * 30, key=2)  # of a context of 128
    (alone,) = subject.generate([short], max_new_tokens=2, thinking=40)
    both = subject.generate([short, long], max_new_tokens=2, thinking=40)
    assert both[0] == alone and len(both[1].split()) < len(alone.split()) == 42


def test_a_block_that_the_prompt_opens_is_shown_whole():
    generate = scripted("a b </think> c d e", opening="<think>")
    text = generate(max_new_tokens=2, thinking=20)
    assert take_apart(text) == ("<think>a b </think>", "c d")


def test_stop_strings_within_a_block_do_not_end_the_text():
    generate = scripted("<think> a. b </think> c d. e f")
    assert generate(max_new_tokens=9, thinking=20, stop=(".",)) == "<think> a. b </think>\n\nc d"


def test_a_text_without_a_block_has_no_more_tokens_than_an_answer():
    assert scripted("a b c d e f")(max_new_tokens=3, thinking=20) == "a b c"


def test_a_template_or_token_that_knows_blocks_tells_that_a_model_may_think():
    tok = tokenizer()
    assert not may_think(tok)
    tok.chat_template = "{{ messages }}<think>\n\n</think>"
    try:
        assert may_think(tok)
    finally:
        tok.chat_template = None


@pytest.mark.skipif(not CASE.is_dir(), reason="no thinking model beside the repository")
def test_a_model_that_thinks_answers_as_plain_transformers_does():
    import torch

    from unmask.tasks import load_task, row

    subject = load_subject(CASE / "model", device="cpu")
    task = load_task(CASE / "task.jsonl").take(6)
    rows = [row(task.prompts(i)[0], subject.tokenizer, subject.chat) for i in task.items]
    texts = subject.generate(rows, max_new_tokens=24)
    for asked, text, item in zip(rows, texts, task.items, strict=True):
        ids = torch.tensor([subject.encode(asked.text, templated=True)])
        out = subject.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=200
        )
        plain = subject.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        written = take_apart(text)
        assert written == take_apart(plain)
        assert written.thinking and item.answer in str(written.answer)
    json.dumps(texts)
