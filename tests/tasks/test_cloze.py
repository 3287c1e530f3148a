import json
import logging
import random

import pytest

from unmask.errors import TaskError
from unmask.tasks import load_task, plain_text


def story(seed: int, n_words: int = 80) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{seed}x{rng.randrange(1000)}" for _ in range(n_words))


@pytest.fixture
def corpus(tmp_path):
    def corpus(documents, name: str = "c.json") -> str:
        path = tmp_path / name
        path.write_text(documents if isinstance(documents, str) else json.dumps(documents))
        return f"cloze:{path}"

    return corpus


def test_an_item_asks_for_the_true_continuation_among_four(corpus):
    stories = [story(i) for i in range(12)]
    task = load_task(corpus(stories))

    assert (task.frame, task.format, task.name) == ("passage", "text", "cloze:c")
    assert len(task.items) == 12
    for item in task.items:
        (source,) = [s for s in stories if s.startswith(item.question)]
        assert source.startswith(f"{item.question} {item.answer}")
        assert len(item.question.split()) == 40 and len(item.answer.split()) == 16
        assert len(set(item.options)) == 4
        for option in set(item.options) - {item.answer}:
            assert option not in source and any(option in s for s in stories)
        (prompt,) = task.prompts(item)
        assert plain_text(prompt) == item.question
        assert prompt.choices[prompt.target] == item.answer


def test_every_continuation_is_as_often_a_distractor_as_any_other(corpus):
    items = load_task(corpus([story(i) for i in range(12)])).items
    offered = [option for item in items for option in item.options]

    assert {offered.count(item.answer) for item in items} == {4}
    assert len({item.options.index(item.answer) for item in items}) > 1


def test_the_order_of_the_corpus_changes_nothing(corpus):
    stories = [story(i) for i in range(20)]
    task = load_task(corpus(stories))
    other = load_task(corpus(stories[::-1], "d.json"))

    assert task.items == other.items and task.digest == other.digest


def test_the_cut_is_put_where_a_plain_blank_is_followed_by_a_word(corpus):
    words = story(0).split()
    marked = " ".join(words[:40]) + "\n\n" + words[40] + ' "' + " ".join(words[41:])
    item = next(
        item
        for item in load_task(corpus([marked, *(story(i) for i in range(1, 5))])).items
        if item.question.startswith(words[0])
    )

    assert len(item.question.split()) == 42
    assert item.answer.split()[0] == words[42]


def test_short_documents_and_copies_are_left_out_and_counted(corpus, caplog):
    stories = [story(i) for i in range(6)]
    with caplog.at_level(logging.WARNING):
        task = load_task(corpus([*stories, stories[0], story(7, 55), ""]))

    assert len(task.items) == 6
    assert "3 of 9 documents were left out" in caplog.text
    assert len(load_task(corpus([story(i, 56) for i in range(4)])).items) == 4


@pytest.mark.parametrize(
    ("name", "join"),
    [
        ("c.json", lambda s: json.dumps([{"text": x, "id": 1} for x in s])),
        ("c.jsonl", lambda s: "\n".join(json.dumps({"text": x}) for x in s)),
        ("c.txt", lambda s: "\n \n\n".join(s)),
        ("c.txt", lambda s: "<|endoftext|>\n\n".join(x.replace("5 ", "5\n\n") for x in s)),
    ],
)
def test_objects_lines_blank_lines_and_marks_separate_documents(corpus, name, join):
    assert len(load_task(corpus(join([story(i) for i in range(8)]), name)).items) == 8


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([story(i) for i in range(3)], "at least 4 different documents of 56 words or more, got 3"),
        ([story(1), 3], "record 2, field 'text': expected a text, .*got 3"),
        ([{"body": "x"}], "record 1, field 'text': .*Rename it"),
        (["\ud83d" + story(1)], "record 1, field 'text': .*lone surrogate"),
    ],
)
def test_a_corpus_that_cannot_serve_is_an_error(corpus, documents, message):
    with pytest.raises(TaskError, match=message):
        load_task(corpus(documents))
