import logging
import random
import subprocess
import sys

import pytest

from unmask.errors import SettingError, TaskError
from unmask.models.rows import ChoiceScores
from unmask.tasks import Item, Task, choice_score, plain_text, row

CAPITAL = Item("What is the capital of France?", "Paris", ("Rome", "Paris", "Oslo"))
COLOUR = Item("Which is a colour?", "red", ("red", "dog", "ten", "sad"))


def make_items(n: int) -> tuple[Item, ...]:
    return tuple(Item(f"Question {i}?", "yes", ("yes", "no")) for i in range(n))


@pytest.mark.parametrize("item", [CAPITAL, COLOUR])
def test_over_the_rotations_every_option_stands_once_at_every_letter(item):
    prompts = Task("t", (item,), "letter").prompts(item)

    n = len(item.options)
    assert [prompt.rotation for prompt in prompts] == list(range(n))
    for place in range(n):
        assert {prompt.options[place] for prompt in prompts} == set(item.options)
    for prompt in prompts:
        assert prompt.choices == ("A", "B", "C", "D")[:n]
        assert prompt.options[prompt.target] == item.answer
    assert {prompt.target for prompt in prompts} == set(range(n))
    assert len({prompt.key for prompt in prompts}) == n


@pytest.mark.parametrize("item", [CAPITAL, COLOUR])
@pytest.mark.parametrize("favourite", [None, 0, 1, 2])
def test_a_model_that_sees_only_positions_scores_exactly_chance(item, favourite):
    task = Task("t", (item,), "letter")
    n = len(item.options)
    log_probs = tuple(-0.5 if place == favourite else -2.0 for place in range(n))
    scores = [
        choice_score(prompt, ChoiceScores(log_probs, (1,) * n, True), "letter").score
        for prompt in task.prompts(item)
    ]

    assert sum(scores) / n == pytest.approx(task.chance(item), abs=1e-15)


def test_text_format_compares_the_options_in_one_prompt_that_does_not_list_them():
    (prompt,) = Task("t", (CAPITAL,), "text").prompts(CAPITAL)

    assert prompt.options == ()
    assert prompt.choices == CAPITAL.options
    assert prompt.target == 1


def test_open_format_has_no_choices_and_no_chance():
    task = Task("t", (CAPITAL,), "open")

    (prompt,) = task.prompts(CAPITAL)
    assert prompt.choices == () and prompt.options == ()
    assert task.chance(CAPITAL) == 0


def test_items_may_differ_in_their_number_of_options():
    task = Task("t", (CAPITAL, COLOUR), "letter")

    assert [len(task.prompts(item)) for item in task.items] == [3, 4]
    assert [task.chance(item) for item in task.items] == [1 / 3, 1 / 4]


def test_duplicates_are_dropped_and_counted(caplog):
    with caplog.at_level(logging.WARNING):
        task = Task("t", (CAPITAL, COLOUR, CAPITAL, CAPITAL), "letter")

    assert task.items == (CAPITAL, COLOUR)
    assert "dropped 2 duplicate items" in caplog.text


def test_the_order_of_the_items_changes_neither_digest_nor_choice():
    items = make_items(50)
    shuffled = list(items)
    random.Random(0).shuffle(shuffled)
    task, other = Task("t", items, "letter"), Task("u", tuple(shuffled), "letter", source="x")

    assert task.items != other.items
    assert task.digest == other.digest
    assert {i.key for i in task.take(10).items} == {i.key for i in other.take(10).items}


def test_a_larger_choice_keeps_the_items_of_a_smaller_one():
    task = Task("t", make_items(50), "letter")
    few, more = set(task.take(5).items), set(task.take(20).items)

    assert len(few) == 5 and len(more) == 20 and few < more
    assert task.take(500) is task


@pytest.mark.parametrize(
    "changes",
    [{"format": "text"}, {"match": "contains"}, {"max_new_tokens": 8}, {"items": make_items(4)}],
)
def test_every_setting_changes_the_digest(changes):
    settings = {"items": make_items(5), "format": "letter"}

    assert Task("t", **settings).digest != Task("t", **{**settings, **changes}).digest


def test_subset_keeps_the_order_and_refuses_unknown_keys():
    task = Task("t", make_items(5), "letter")
    picked = task.subset([task.items[3].key, task.items[1].key])

    assert picked.items == (task.items[1], task.items[3])
    with pytest.raises(TaskError, match="expected keys of its 5 items, got 1 others, first zz"):
        task.subset(["zz"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"items": ()}, "expected at least one item, got none"),
        ({"items": (Item("q", "a"),)}, "field 'options': expected options, since the format"),
        ({"frame": "passage"}, "expected format 'text' or 'open' for passages, got 'letter'"),
        (
            {"items": (Item("q", "0", tuple(str(i) for i in range(27))),)},
            "at most 26 options.*got 27. .*format 'text'",
        ),
        ({"format": "open", "match": "numeric"}, "item 'What is.*', field 'answer': .* a number"),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused(settings, message):
    with pytest.raises(TaskError, match=message):
        Task("t", **{"items": (CAPITAL,), "format": "letter", **settings})


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "a{2,1}", "(?P<n>a)(?P<n>b)"])
def test_a_bad_pattern_names_its_item(pattern):
    with pytest.raises(TaskError, match="Task t, item 'q', field 'answer': .*regular expression"):
        Task("t", (Item("q", pattern),), "open", "regex")


def test_a_pattern_that_matches_anything_is_refused():
    with pytest.raises(TaskError, match="any answer would be right"):
        Task("t", (Item("q", "x*"),), "open", "regex")


def test_numbers_of_tokens_and_items_must_be_positive():
    with pytest.raises(SettingError, match="max_new_tokens must be at least 1, got 0"):
        Task("t", (CAPITAL,), "open", max_new_tokens=0)
    with pytest.raises(SettingError, match="at least 1 item, got n=0"):
        Task("t", (CAPITAL,), "open").take(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("", "a"), "field 'question': expected a text that is not blank, got ''"),
        (("q", " "), "field 'answer': expected a text that is not blank, got ' '"),
        (("q", "a", ("a",)), "field 'options': expected two options or more, got only 'a'"),
        (("q", "a", ("a", "b", "a ")), "field 'options': expected options that differ"),
        (("q", "c", ("a", "b")), "field 'answer': expected one of the 2 options, got 'c'"),
        (("q \ud83d", "c"), r"field 'question': .*lone surrogate '\\ud83d'"),
    ],
)
def test_an_item_checks_its_fields(fields, message):
    with pytest.raises(TaskError, match=message):
        Item(*fields)


def test_importing_tasks_loads_neither_torch_nor_transformers():
    code = "import sys, unmask.tasks; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_listed_options_rotate_and_are_answered_by_their_text():
    item = Item("Where?", "b", ("a", "b", "c"))
    task = Task("t", (item,), "listed")
    prompts = task.prompts(item)
    assert [prompt.choices for prompt in prompts] == [
        ("a", "b", "c"),
        ("b", "c", "a"),
        ("c", "a", "b"),
    ]
    assert all(prompt.choices == prompt.options for prompt in prompts)
    assert [prompt.choices[prompt.target] for prompt in prompts] == ["b", "b", "b"]
    assert plain_text(prompts[1]) == "Question: Where?\nA. b\nB. c\nC. a\nAnswer:"
    assert row(prompts[1], None, chat=False).choices == ("b", "c", "a")
    assert task.chance(item) == 1 / 3
