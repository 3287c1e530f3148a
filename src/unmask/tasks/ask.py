"""From prompts to the text that a model reads, plain or as a chat."""

from typing import Any, Protocol, runtime_checkable

from unmask.errors import SubjectError
from unmask.models.rows import Row, join
from unmask.models.thinking import close
from unmask.tasks.faults import show
from unmask.tasks.item import LETTERS, Prompt

CUE = "Answer:"
LETTER_ONLY = "Answer with the letter only."
TEXT_ONLY = "Answer with the text of one option only."


@runtime_checkable
class ChatTokenizer(Protocol):
    """The part of a tokenizer that lays out a chat."""

    chat_template: Any

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        **variables: Any,
    ) -> Any:
        """Write a conversation as one text."""
        ...


def plain_text(prompt: Prompt) -> str:
    """Return the text of a prompt for a model without chat form, up to where its answer starts.

    Solved examples come first, each with its answer, then the question; a blank line stands
    between them. In the passage frame the text is the passage with what was put before it;
    paragraphs put after have no place there.
    """
    parts = [join(_plain_body(shot), answer) for shot, answer in prompt.shots]
    return join("\n\n".join([*parts, _plain_body(prompt)]), prompt.prefill.rstrip(" "))


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """Return a prompt as a chat: a user's and an assistant's turn per shot, then the user's."""
    turns: list[dict[str, str]] = []
    for shot, answer in prompt.shots:
        turns.append({"role": "user", "content": _user_turn(shot)})
        turns.append({"role": "assistant", "content": answer})
    turns.append({"role": "user", "content": _user_turn(prompt)})
    return turns


def row(prompt: Prompt, tokenizer: ChatTokenizer | None, chat: bool) -> Row:
    """Return a prompt as a row for the model.

    A passage is bare text to be continued: it never gets a chat template, whatever `chat` says.
    A model that thinks before it answers may think where the answer is written; where choices are
    compared or the answer is begun for it, its thinking block stands empty.

    Args:
        prompt: What is asked.
        tokenizer: The subject's tokenizer; read only for its chat template.
        chat: Whether the subject is addressed through its chat template. The text then holds the
            template's own special tokens, so that none are to be added when it is encoded.

    Raises:
        SubjectError: If a chat is asked for and the tokenizer has no template, or its template
            cannot lay out these turns, or lays them out without the question.
    """
    templated = chat and prompt.frame == "question"
    if templated:
        answered = bool(prompt.choices or prompt.prefill)
        text = _chat_text(prompt, tokenizer, thinks=not answered)
        text = join(close(text) if answered else text, prompt.prefill.rstrip(" "))
    else:
        text = plain_text(prompt)
    return Row(text, prompt.choices, prompt.key, templated)


def _chat_text(prompt: Prompt, tokenizer: ChatTokenizer | None, *, thinks: bool) -> str:
    if tokenizer is None or not tokenizer.chat_template:
        raise SubjectError(
            "Expected a tokenizer with a chat template, got one without. The model may be a base "
            "model that was never trained to chat. Use the plain form, or set "
            "tokenizer.chat_template."
        )
    turns = messages(prompt)
    switches = not thinks and "enable_thinking" in str(tokenizer.chat_template)
    variables = {"enable_thinking": False} if switches else {}
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **variables
        )
    except Exception as error:  # a template is the checkpoint's own program
        raise SubjectError(
            f"Expected the chat template to lay out {len(turns)} turns of user and assistant, got "
            f"{type(error).__name__}: {error}. The template may demand other roles. Use the plain "
            "form, or set another tokenizer.chat_template."
        ) from None
    asked = turns[-1]["content"]
    # Templates may change blanks, and nothing else.
    if "".join(asked.split()) not in "".join(text.split()):
        raise SubjectError(
            f"Expected the chat template to lay out the question {show(prompt.item.question)}, got "
            f"{show(text)} without it. The template may read messages as lists of parts, or be "
            "another model's. Set another tokenizer.chat_template."
        )
    return text


def _plain_body(prompt: Prompt) -> str:
    lines = _lines(prompt)
    return "\n".join(lines if prompt.frame == "passage" else [*lines, CUE])


def _user_turn(prompt: Prompt) -> str:
    cue = LETTER_ONLY if prompt.choices == tuple(LETTERS[: len(prompt.choices)]) else TEXT_ONLY
    return "\n".join([*_lines(prompt), *([cue] if prompt.options else [])])


def _lines(prompt: Prompt) -> list[str]:
    context = [prompt.item.context] if prompt.item.context else []
    above = [*context, *prompt.before]
    if prompt.frame == "passage":
        return [*above, prompt.item.question]
    listed = [f"{LETTERS[index]}. {option}" for index, option in enumerate(prompt.options)]
    return [*above, f"Question: {prompt.item.question}", *listed, *prompt.after]
