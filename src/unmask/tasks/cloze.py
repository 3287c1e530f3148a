"""Four-way next-passage items from a corpus: which continuation is the true one?"""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

from unmask.errors import TaskError
from unmask.hashing import digest
from unmask.tasks.item import Item

logger = logging.getLogger(__name__)

PASSAGE_WORDS = 40
CONTINUATION_WORDS = 16
N_DISTRACTORS = 3
_SLACK = 12
"""How many words later than `PASSAGE_WORDS` a passage may end, for a clean cut."""

END_OF_TEXT = "<|endoftext|>"


class _Cut(NamedTuple):
    passage: str
    continuation: str


def split_documents(text: str) -> list[str]:
    """Split a text file into documents: at its end-of-text marks, or else at blank lines."""
    if END_OF_TEXT in text:
        return text.split(END_OF_TEXT)
    return re.split(r"\n[^\S\n]*\n", text)


def cloze_items(documents: Sequence[str], where: str) -> tuple[Item, ...]:
    """Make an item of every document that is long enough.

    The passage is the document's first words, the answer the words that follow, and the
    distractors are the continuations of the three documents that come next in the order of their
    hashes: the same whatever the order of the file, and each serves as often as any other.

    Args:
        documents: The texts of the corpus.
        where: The file, for messages.

    Raises:
        TaskError: If fewer than four documents are long enough.
    """
    cuts = {digest("cloze", document.strip()): _cut(document) for document in documents}
    usable: dict[str, _Cut] = {}
    taken: set[str] = set()
    for key in sorted(cuts):
        cut = cuts[key]
        if cut is not None and cut.continuation not in taken:
            usable[key] = cut
            taken.add(cut.continuation)
    least = PASSAGE_WORDS + CONTINUATION_WORDS
    if len(usable) <= N_DISTRACTORS:
        raise TaskError(
            f"{where}: expected at least {N_DISTRACTORS + 1} different documents of {least} words "
            f"or more, got {len(usable)} among {len(documents)}. The documents may be lines of "
            "dialogue, or the text may lack the blank lines or the marks "
            f"{END_OF_TEXT} between documents. Use a corpus of longer documents."
        )
    if len(usable) < len(documents):
        logger.warning(
            "%s: %d of %d documents were left out (fewer than %d words, or copies of others)",
            where,
            len(documents) - len(usable),
            len(documents),
            least,
        )
    ring = list(usable.values())
    return tuple(_item(index, ring) for index in range(len(ring)))


def _item(index: int, ring: Sequence[_Cut]) -> Item:
    passage, answer = ring[index]
    others = [ring[(index + step) % len(ring)].continuation for step in range(1, 1 + N_DISTRACTORS)]
    options = sorted([answer, *others], key=lambda option: digest("cloze", passage, option))
    return Item(passage, answer, tuple(options))


def _cut(document: str) -> _Cut | None:
    """Cut a document after about 40 words, where a plain blank is followed by a word."""
    words = list(re.finditer(r"\S+", document))
    latest = min(PASSAGE_WORDS + _SLACK, len(words) - CONTINUATION_WORDS)
    if latest < PASSAGE_WORDS:
        return None
    # Elsewhere the blank that joins passage and continuation would not be the document's own.
    clean = (
        place
        for place in range(PASSAGE_WORDS, latest + 1)
        if document[words[place - 1].end() : words[place].start()] == " "
        and words[place][0][0].isalnum()
    )
    place = next(clean, PASSAGE_WORDS)
    end = words[place + CONTINUATION_WORDS - 1].end()
    return _Cut(
        document[words[0].start() : words[place - 1].end()], document[words[place].start() : end]
    )
