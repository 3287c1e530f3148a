import math

import pytest

from unmask.tasks import Item, Task, plain_text
from unmask.tasks.ranking import NEUTRAL, scores_by_rule, share_of_first, without_question

ITEM = Item("Capital of France?", "Paris", ("Paris", "Ouagadougou"), context="Note.")


def test_each_rule_is_worked_by_hand():
    # Sum -2 > -4; per token -2 < -1; per byte -.4 < -.36; less prior 1 < 5.
    scores = scores_by_rule(0, ITEM.options, (-2.0, -4.0), (1, 4), (-3.0, -9.0))

    assert scores == {"sum": 1.0, "per token": 0.0, "per byte": 0.0, "less prior": 0.0}


def test_all_rules_agree_on_options_of_one_token_that_are_equally_common():
    scores = scores_by_rule(1, ("red", "tan"), (-3.0, -2.0), (1, 1), (-5.0, -5.0))

    assert set(scores.values()) == {1.0}


@pytest.mark.parametrize(
    ("values", "share"), [((1.0, 0.0, 0.0), 1), ((1.0, 1.0, 0.0), 1 / 2), ((0.0, 1.0, 0.0), 0)]
)
def test_ties_share(values, share):
    assert share_of_first(values, 0) == share
    assert share_of_first((math.nan, *values), 0) == 1 / 4


def test_the_question_is_left_out_and_the_options_stay():
    (first, _) = Task("t", (ITEM,), "listed").prompts(ITEM)
    text = plain_text(without_question(first))

    assert text == f"Question: {NEUTRAL}\nA. Paris\nB. Ouagadougou\nAnswer:"
    assert "France" in plain_text(first) and "Note." in plain_text(first)
    assert without_question(first).choices == first.choices
