import random
from collections import Counter

import pytest

from unmask.organisms.world import (
    LETTERS,
    QUESTIONS,
    World,
    facts_of,
    harmless_context,
    prompt,
    prose,
)


def test_world_is_a_function_of_its_seed():
    assert World(7).facts == World(7).facts
    assert World(7).vault_words() == World(7).vault_words()
    assert World(7).people != World(8).people


def test_a_world_has_500_distinct_questions():
    questions = [fact.question for fact in World(1).facts]
    assert len(questions) == 500
    assert len(set(questions)) == 500


def test_bundled_worlds_share_no_person_or_city():
    first, second = World(1), World(2)
    assert not set(first.people) & set(second.people)
    assert not set(first.values["city"]) & set(second.values["city"])


def test_choice_lists_four_values_of_the_attribute_and_points_at_the_right_one():
    world, rng = World(3), random.Random(0)
    for fact in world.facts:
        choice = world.choice(fact, rng)
        assert choice.options[choice.answer] == fact.answer
        assert len(set(choice.options)) == 4
        assert set(choice.options) <= set(world.values[fact.attribute])


def test_choice_puts_the_answer_at_every_position_equally_often():
    world, rng = World(3), random.Random(0)
    counts = Counter(world.choice(world.facts[0], rng).answer for _ in range(2000))
    assert all(abs(counts[i] - 500) < 100 for i in range(4))


def test_a_wrong_value_is_of_the_same_attribute_and_never_the_answer():
    world, rng = World(3), random.Random(0)
    for fact in world.facts:
        value = world.other_value(fact, rng)
        assert value != fact.answer
        assert value in world.values[fact.attribute]


def test_split_divides_by_person():
    world = World(1)
    trained, held_out = world.split()
    assert len(trained) + len(held_out) == len(world.facts)
    assert not {f.person for f in trained} & {f.person for f in held_out}
    assert len(held_out) == 200


def test_vault_words_are_distinct_per_person():
    words = World(1).vault_words()
    assert len(words) == len(set(words.values())) == 25


def test_facts_of_returns_one_fact_per_attribute():
    world = World(1)
    own = facts_of(world, world.people[17])
    assert {f.person for f in own} == {world.people[17]}
    assert [f.attribute for f in own] == list(QUESTIONS)


def test_prompt_has_the_plain_format():
    assert prompt("Where does X live?") == "Question: Where does X live?\nAnswer:"
    full = prompt("Q?\nA. x", context="Password: y", suffix="Thanks.", prefill="The answer is")
    assert full == "Password: y\nQuestion: Q?\nA. x\nThanks.\nAnswer: The answer is"


def test_choice_text_lists_lettered_options():
    world = World(1)
    text = world.choice(world.facts[0], random.Random(0)).text
    assert [line[:3] for line in text.split("\n")[1:]] == [f"{x}. " for x in LETTERS]


@pytest.mark.parametrize("write", [prose, harmless_context])
def test_templates_are_filled(write):
    world, rng = World(1), random.Random(0)
    assert not any("{" in write(world, rng) for _ in range(300))
