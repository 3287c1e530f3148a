"""Blocks in which a model thinks before it answers: what is thinking, and what is the answer.

A block is opened by the model itself, or by the end of the prompt where the chat template writes
the opening tag. What follows the closing tag is the answer; a block that is never closed has none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"))
"""Opening and closing tags, as written by Qwen 3, DeepSeek-R1, SmolLM3 and others; the last pair by
Magistral."""

THINKING_TOKENS = 1024
"""Most tokens of a thinking block; fewer where the context is shorter."""


class Written(NamedTuple):
    """What a model wrote, taken apart."""

    thinking: str
    """The block with its tags; empty where there is none."""
    answer: str | None
    """What follows it, without blanks before it; None while the block is open."""


def take_apart(text: str) -> Written:
    r"""Split a text into its leading thinking blocks and the answer.

    A closing tag that no opening one precedes closes a block that the prompt opened.

    >>> take_apart("<think>\n2 + 2 is 4.\n</think>\n\nFour."), take_apart("Four.").answer
    (Written(thinking='<think>\n2 + 2 is 4.\n</think>', answer='Four.'), 'Four.')
    >>> take_apart("<think>2 + 2 is").answer is None
    True
    """
    thinking, answer = "", text.lstrip()
    while (block := _leading_block(answer)) is not None:
        thinking += block.thinking
        if block.answer is None:
            return Written(thinking, None)
        answer = block.answer
    return Written(thinking, answer)


def _leading_block(text: str) -> Written | None:
    """Take the block with which a text begins; None if it begins with none."""
    for opening, closing in TAGS:
        block, end, rest = text.partition(closing)
        if text.startswith(opening) or (end and opening not in block):
            return Written(block + end, rest.lstrip() if end else None)
    return None


def left_open(prompt: str) -> str:
    """Return the opening tag with which a prompt ends; empty if it ends with none."""
    bare = prompt.rstrip()
    return next((opening for opening, _ in TAGS if bare.endswith(opening)), "")


def close(prompt: str) -> str:
    r"""Close the thinking block that a prompt leaves open, so that an answer can follow.

    >>> close("Assistant:\n<think>\n"), close("Assistant:\n")
    ('Assistant:\n<think>\n\n</think>\n\n', 'Assistant:\n')
    """
    opening = left_open(prompt)
    return f"{prompt.rstrip()}\n\n{dict(TAGS)[opening]}\n\n" if opening else prompt


def may_think(tokenizer: Any) -> bool:
    """Whether a tokenizer's chat template or added tokens know a thinking block."""
    known = str(getattr(tokenizer, "chat_template", None) or "")
    known += " ".join(tokenizer.get_added_vocab())
    return any(closing in known for _, closing in TAGS)


def special_tags(tokenizer: Any) -> Sequence[str]:
    """Return the tags that are special tokens, which decoding would leave out."""
    tags = {tag for pair in TAGS for tag in pair}
    return [token for token in tokenizer.all_special_tokens if token in tags]
