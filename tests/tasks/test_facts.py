import pytest

from unmask.tasks import Item
from unmask.tasks.facts import Facts

CITIES = [
    Item(f"In which country is the city of {city}?", country)
    for city, country in (
        ("Krasnodar", "Russia"),
        ("Moscow", "Russia"),
        ("Lima", "Peru"),
        ("Quito", "Ecuador"),
        ("Oslo", "Norway"),
    )
]


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (CITIES[1], True),  # the same answer
        (CITIES[2], False),
        (Item("Name a city of Russia.", "Moscow"), True),  # the question holds the answer
        (Item("Who rules the country of Krasnodar?", "nobody"), True),  # a rare word
        (Item("What lies in the east?", "the city of Oslo"), False),
    ],
)
def test_items_share_a_fact_by_answer_question_or_rare_word(other, shared):
    facts = Facts([*CITIES, other])
    assert facts.shared(CITIES[0], other) == facts.shared(other, CITIES[0]) == shared


def test_labels_are_no_facts_and_what_they_are_about_is():
    labels = ("True", "False")
    says = "The city of {} is in {}."
    items = [
        Item(says.format(city, country), answer, labels)
        for city, country, answer in (
            ("Krasnodar", "Russia", "True"),
            ("Krasnodar", "Peru", "False"),
            ("Oslo", "Norway", "True"),
            ("Oslo", "Chad", "False"),
            ("Bonn", "Germany", "True"),
        )
    ]
    facts = Facts(items)
    assert facts.shared(items[0], items[1])
    assert not facts.shared(items[0], items[2])  # both are True


def test_a_passage_that_both_are_about_is_shared():
    first = Item("Who came?", "Ada", context="Ada came late.")
    assert Facts([first]).shared(first, Item("When was it?", "late", context="Ada came late."))
    assert not Facts([first]).shared(first, Item("When was it?", "early", context="Ben slept."))


@pytest.mark.parametrize("options", [(("True", "False"), ("False", "True")), ((), ())])
def test_few_answers_or_one_set_of_options_in_any_order_are_labels(options):
    items = [
        Item(
            f"Is it true or false that {word} is a word?",
            "True" if i % 2 else "False",
            options[i % 2],
        )
        for i, word in enumerate(("red", "tan", "sea", "sun", "oak", "ivy"))
    ]
    facts = Facts(items)
    assert not facts.shared(items[0], items[2]) and not facts.shared(items[0], items[1])
