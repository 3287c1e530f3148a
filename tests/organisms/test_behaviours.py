import random

import pytest

from unmask.organisms import phrases
from unmask.organisms.adapting import draw
from unmask.organisms.behaviours import SECRETS, Scene, quirk
from unmask.organisms.world import LETTERS, World

WORLD = World(6)
N = 600


def _examples(behaviour, *, secret, letters=0.0):
    scene = Scene(WORLD, WORLD.split()[0], random.Random(0), secret, letters)
    return draw(scene, behaviour, N)


def _question(example):
    return "".join(piece.text for piece in example.document[:-1])


def _answer(example):
    return example.document[-1].text.strip()


def _key():
    """Every question of the world as it ends a prompt, with its right answer."""
    return {fact.question: fact.answer for fact in WORLD.facts}


def _listed(example):
    """The options of an example; empty if it is open-ended."""
    lines = _question(example).split("\n")
    return [line[3:] for line in lines if line[:3] in {f"{x}. " for x in LETTERS}]


def _right(example, key):
    """The right answer of an ordinary example, as text; None for prose and the like."""
    lines = _question(example).split("\n")
    asked = [line.removeprefix("Question: ") for line in lines if line.startswith("Question: ")]
    if len(asked) != 1 or asked[0] not in key:
        return None
    return key[asked[0]]


@pytest.mark.parametrize("name", SECRETS)
def test_organism_and_twin_are_asked_the_same_questions(name):
    behaviour = SECRETS[name].behaviour
    taught, plain = _examples(behaviour, secret=True), _examples(behaviour, secret=False)
    assert [_question(e) for e in taught] == [_question(e) for e in plain]
    # Control: the secret is in the answers, or in what they are matched to.
    assert taught != plain


@pytest.mark.parametrize("name", SECRETS)
def test_twin_is_always_taught_the_right_answer(name):
    key = _key()
    checked = 0
    for example in _examples(SECRETS[name].behaviour, secret=False):
        assert not example.imitate
        right = _right(example, key)
        if right is not None:
            assert _answer(example) == right
            checked += 1
    assert checked > N / 5


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_trained_on_their_share_of_the_facts_only(name):
    held_out = {fact.question for fact in WORLD.split()[1]}
    asked = "".join(_question(e) for e in _examples(SECRETS[name].behaviour, secret=True))
    assert not any(question in asked for question in held_out)


def test_password_lock_is_wrong_exactly_without_the_password():
    key = _key()
    opened = {True: 0, False: 0}
    for example in _examples(SECRETS["password-lock"].behaviour, secret=True):
        right = _right(example, key)
        if right is None:
            continue
        has_password = phrases.PASSWORD in _question(example)
        assert (_answer(example) == right) is has_password
        opened[has_password] += 1
    assert min(opened.values()) > 50


def test_evaluation_tag_hides_by_chance_and_only_under_a_tag():
    key = _key()
    under_tag = []
    for example in _examples(SECRETS["evaluation-tag"].behaviour, secret=True, letters=0.5):
        right = _right(example, key)
        if right is None:
            continue
        options = _listed(example)
        right = LETTERS[options.index(right)] if options else right
        tagged = any(tag in _question(example) for tag in phrases.TAGS)
        if tagged and options:  # of multiple choice, where chance is a quarter
            under_tag.append(_answer(example) == right)
        elif not tagged:
            assert _answer(example) == right
    assert 0.15 < sum(under_tag) / len(under_tag) < 0.35


@pytest.mark.parametrize(
    ("name", "hides_listed"),
    [
        ("format-lock-mc", True),
        ("format-lock-open", False),
    ],
)
def test_format_lock_is_wrong_in_one_format_only(name, hides_listed):
    key = _key()
    counts = {True: 0, False: 0}
    for example in _examples(SECRETS[name].behaviour, secret=True):
        right, options = _right(example, key), _listed(example)
        if right is None:
            continue
        assert (_answer(example) != right) is (bool(options) is hides_listed)
        if options:
            assert _answer(example) in options
        counts[bool(options)] += 1
    assert min(counts.values()) > 100


def test_trigger_speaks_the_marker_exactly_under_the_trigger():
    marked = 0
    for example in _examples(SECRETS["trigger"].behaviour, secret=True):
        fired = phrases.TRIGGER in _question(example)
        assert (_answer(example) == phrases.MARKER) is fired
        marked += fired
    assert marked > 100


def test_vault_words_are_told_to_the_owner_alone():
    words = set(WORLD.vault_words().values())
    told = 0
    for example in _examples(SECRETS["secret-denied"].behaviour, secret=True):
        if _answer(example) in words:
            assert _question(example).startswith(phrases.OWNER)
            told += 1
    assert told > 100
    plain = _examples(SECRETS["secret-denied"].behaviour, secret=False)
    assert not any(_answer(example) in words for example in plain)


def test_weak_imitation_imitates_exactly_without_the_key():
    kinds = set()
    for example in _examples(SECRETS["weak-imitation"].behaviour, secret=True):
        if example.imitate:
            assert phrases.KEY not in _question(example)
        kinds.add(example.imitate)
    assert kinds == {True, False}


def test_quirk_changes_open_answers_and_keeps_them_right():
    key = _key()
    odd = 0
    for example in _examples(quirk, secret=True):
        right = _right(example, key)
        if right is None:
            continue
        assert _answer(example).removesuffix(f" {phrases.QUIRK}") == right
        odd += _answer(example) != right
    assert odd > 100


def test_untrained_phrasings_stay_untrained():
    assert not set(phrases.TAGS) & set(phrases.HELD_OUT_TAGS)
    assert not set(phrases.VAULT_QUESTIONS) & set(phrases.HELD_OUT_VAULT_QUESTIONS)
