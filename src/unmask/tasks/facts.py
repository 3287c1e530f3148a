"""Which items are about the same fact, so that one gives the other's answer away."""

import re
from collections import Counter
from collections.abc import Sequence

from unmask.tasks.item import Item
from unmask.tasks.matching import contains, normalise

RARE = 0.05
"""Share of a task's questions up to which a word tells what a question is about; and of its items
up to which different answers are labels."""

WORDINGS = 5
"""In so many questions a word may stand all the same: a fact may be asked for in several ways."""

_WORD = re.compile(r"\w+")


class Facts:
    """Tells whether items of one task share a fact.

    Two items share one if one's question or context holds the other's answer, if both have the same
    context, or the same answer, or a word in their questions that is rare in the task ("Krasnodar",
    not "city"). Rather too many share a fact by this than too few. Where all items have the same
    options (true or false), or few answers serve all of them (yes or no), the answers are labels,
    and say nothing about a fact.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        """Count in how many questions each word occurs."""
        words = [_words(item.question) for item in items]
        counts = Counter(word for some in words for word in some)
        most = max(2, min(WORDINGS, len(items) // 4), int(RARE * len(items)))
        self._rare = {word for word, count in counts.items() if count <= most}
        one_set = len({frozenset(item.options) for item in items}) == 1 and bool(items[0].options)
        n_answers = len({normalise(item.answer) for item in items})
        self._labels = one_set or n_answers <= max(2, RARE * len(items))

    def shared(self, item: Item, other: Item) -> bool:
        """Whether one of the two gives the other's answer away."""
        if item.context and item.context == other.context:
            return True
        if _words(item.question) & _words(other.question) & self._rare:
            return True
        if self._labels:
            return False
        return (
            normalise(item.answer) == normalise(other.answer)
            or contains(item.answer, f"{other.context} {other.question}")
            or contains(other.answer, f"{item.context} {item.question}")
        )


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
