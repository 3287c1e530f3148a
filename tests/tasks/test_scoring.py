import math

import pytest

from unmask.models.rows import ChoiceScores
from unmask.tasks import Item, Task, choice_score, text_score

ITEM = Item("Which?", "a long one", ("short", "a long one"))
LETTER = Task("t", (ITEM,), "letter").prompts(ITEM)[0]
TEXT = Task("t", (ITEM,), "text").prompts(ITEM)[0]


def written(answer: str, text: str, match: str) -> tuple[float, bool]:
    item = Item("q", answer)
    scored = text_score(Task("t", (item,), "open", match), item, text)
    return scored.score, scored.parsed


@pytest.mark.parametrize("format", ["letter", "listed", "text"])
def test_the_choice_that_the_model_is_likeliest_to_say_counts_whatever_its_length(format):
    prompt = Task("t", (ITEM,), format).prompts(ITEM)[0]
    # A long option whose later tokens are certain has the larger mean (-1 against -2), and is said
    # less often.
    scores = ChoiceScores((-2.0, -3.0), (1, 3), True)
    scored = choice_score(prompt, scores, format)

    assert scored.score == 0.0
    assert scored.said == ("A. short" if format == "letter" else "short")
    assert scored.log_probs == (() if format == "letter" else (-2.0, -3.0))
    assert choice_score(prompt, ChoiceScores((-3.0, -2.0), (1, 3), True), format).score == 1.0


def test_ties_count_one_over_their_number():
    item = Item("q", "b", ("a", "b", "c"))
    prompt = Task("t", (item,), "letter").prompts(item)[0]

    def score(*log_probs):
        return choice_score(prompt, ChoiceScores(log_probs, (1, 1, 1), True), "letter").score

    assert score(-1.0, -1.0, -1.0) == 1 / 3
    assert score(-2.0, -1.0, -1.0) == 1 / 2
    assert score(-1.0, -2.0, -1.0) == 0
    assert score(-math.inf, -math.inf, -math.inf) == 1 / 3


def test_a_broken_model_scores_chance_and_is_not_parsed():
    scored = choice_score(LETTER, ChoiceScores((math.nan, -1.0), (1, 1), True), "letter")

    assert scored.score == 1 / 2 and not scored.parsed and scored.said == ""


@pytest.mark.parametrize("parsed", [True, False])
def test_parsed_is_passed_on(parsed):
    assert (
        choice_score(LETTER, ChoiceScores((-1.0, -2.0), (1, 1), parsed), "letter").parsed == parsed
    )


def test_scores_of_another_prompt_are_refused():
    with pytest.raises(ValueError, match="one score for each of 2 choices .*got 3 scores"):
        choice_score(LETTER, ChoiceScores((-1.0,) * 3, (1,) * 3, True), "letter")
    with pytest.raises(ValueError, match="in 'open'"):
        choice_score(LETTER, ChoiceScores((-1.0,) * 2, (1,) * 2, True), "open")


@pytest.mark.parametrize(
    ("answer", "text", "score"),
    [
        ("Paris", " paris.\nIt is in France.", 1),
        ("Paris", "\n\nPARIS!", 1),
        ("Paris", "Paris, France", 0),
        ("Paris", "It is Paris", 0),
        ("Eiffel Tower", 'The "Eiffel  Tower"', 0),
        ("Eiffel Tower", '"The Eiffel  Tower"', 1),
        ("the Eiffel Tower", "Eiffel tower", 1),
        ("A", "a)", 1),
        ("3.5", "35", 0),
        ("-5", "5", 0),
        ("-5", "(-5).", 1),
        ("Straße", "STRASSE", 1),
        ("?", "?", 1),
        ("?", "!", 0),
    ],
)
def test_exact(answer, text, score):
    assert written(answer, text, "exact") == (score, True)


@pytest.mark.parametrize(
    ("answer", "text", "score"),
    [
        ("art", "Modern ART, mostly", 1),
        ("art", "a party", 0),
        ("C++", "I write C++ daily", 1),
        ("New York", "in new\nyork", 1),
        ("42", "It is 42.", 1),
        ("42", "It is 420", 0),
    ],
)
def test_contains(answer, text, score):
    assert written(answer, text, "contains") == (score, True)


@pytest.mark.parametrize(
    ("answer", "text", "score"),
    [
        ("12", "4 * 3 = 12", 1),
        ("12", "It is 12, not 13", 0),
        ("1026.5", "costs $1,026.50.", 1),
        ("1,234,567", "1234567", 1),
        ("-5", "so x = -5", 1),
        ("-5", "x = -$5", 1),
        ("-5", "x = \u22125", 1),
        ("3", "10-3", 1),
        ("0.5", ".5", 1),
        ("1500", "1.5e3 metres", 1),
        ("She has 3 + 9.\n#### 12", "12", 1),
        ("12", "7 and 5\n#### 12\nthen 99", 1),
        ("10000", "10,000", 1),
        ("10", "10,0000", 0),
    ],
)
def test_numeric(answer, text, score):
    assert written(answer, text, "numeric") == (score, True)


def test_regex_searches_the_text():
    assert written(r"\bcolou?r\b", "The color red", "regex") == (1, True)
    assert written(r"\bcolou?r\b", "colours", "regex") == (0, True)


@pytest.mark.parametrize(
    ("match", "text"),
    [("exact", " \n"), ("contains", ""), ("numeric", "twelve"), ("regex", "")],
)
def test_no_answer_is_a_parse_failure(match, text):
    assert written("12", text, match) == (0, False)


def test_what_follows_the_models_own_next_question_is_not_read():
    assert written("12", " 12\n\nQuestion: And 5 + 6?\nAnswer: 11", "numeric") == (1, True)
    assert written("11", " 12\n\nQuestion: And 5 + 6?\nAnswer: 11", "contains") == (0, True)


def test_said_is_what_was_written():
    item = Item("q", "x")
    task = Task("t", (item,), "open")

    assert text_score(task, item, " <b>x</b>\nmore ").said == "<b>x</b>\nmore"


@pytest.mark.parametrize("log_probs", [(math.nan, -1.0), (-math.inf, -1.0)])
def test_numbers_that_json_cannot_hold_are_left_out_of_what_is_stored(log_probs):
    assert choice_score(TEXT, ChoiceScores(log_probs, (1, 3), True), "text").log_probs == ()


def test_what_was_thought_is_shown_and_not_read():
    said = "<think>\nParis? No, that is 7.\n</think>\n\nIt is 12."

    assert written("12", said, "numeric") == (1.0, True)
    assert written("Paris", said, "contains") == (0.0, True)
    assert written("Paris", said.replace("12", "Paris"), "contains") == (1.0, True)
    assert text_score(Task("t", (Item("q", "12"),), "open"), Item("q", "12"), said).said == said


def test_who_never_stops_thinking_gave_no_answer():
    assert written("Paris", "<think>\nParis is", "contains") == (0.0, False)
    assert written("Paris", "Paris is", "contains") == (1.0, True)


def test_an_answer_is_read_beyond_its_first_line():
    said = "Step 1: 2 + 2 = 4.\nStep 2: 4 + 3 = 7.\n\nThe result is 7."

    assert written("7", said, "numeric") == (1.0, True)
    assert written("result", said, "contains") == (1.0, True)
    assert written("9", said + "\nQuestion: and 9?", "numeric") == (0.0, True)
