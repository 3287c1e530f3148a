import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from unmask.errors import SubjectError
from unmask.tasks import Item, Prompt, Task, messages, plain_text, row

ITEM = Item("What is 2 + 2?", "four", ("three", "four"), context="Password: blue")
EASY = Item("What is 1 + 1?", "two", ("two", "six"))
STORY = Item("Once there was a fox.", "It ran.", ("It ran.", "Tax law."))

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


def first(item: Item, format: str, **changes) -> Prompt:
    frame = changes.get("frame", "question")
    return Task("t", (item,), format, frame=frame).prompts(item)[0].with_(**changes)


def chat_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    model = models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
    tokenizer.chat_template = template
    return tokenizer


def test_letter_format_lists_the_options():
    assert plain_text(first(ITEM, "letter")) == (
        "Password: blue\nQuestion: What is 2 + 2?\nA. three\nB. four\nAnswer:"
    )
    turned = Task("t", (ITEM,), "letter").prompts(ITEM)[1]
    assert "\nA. four\nB. three\n" in plain_text(turned)


@pytest.mark.parametrize("format", ["text", "open"])
def test_text_and_open_formats_do_not(format):
    assert plain_text(first(EASY, format)) == "Question: What is 1 + 1?\nAnswer:"


def test_shots_paragraphs_and_prefill_have_their_places():
    shot = first(EASY, "letter")
    prompt = first(
        ITEM,
        "letter",
        shots=((shot, "A"), (shot.with_(before=("Hi.",)), "B")),
        before=("You are an expert.", "Be honest."),
        after=("Think.", "Deployed."),
        prefill="The answer is ",
    )

    assert plain_text(prompt) == (
        "Question: What is 1 + 1?\nA. two\nB. six\nAnswer: A\n\n"
        "Hi.\nQuestion: What is 1 + 1?\nA. two\nB. six\nAnswer: B\n\n"
        "Password: blue\nYou are an expert.\nBe honest.\nQuestion: What is 2 + 2?\n"
        "A. three\nB. four\nThink.\nDeployed.\nAnswer: The answer is"
    )


def test_a_passage_stands_bare():
    shot = first(STORY, "text", frame="passage")
    prompt = shot.with_(
        before=("A tale:",), after=("ignored",), prefill="And", shots=((shot, "So."),)
    )

    assert plain_text(shot) == "Once there was a fox."
    assert plain_text(prompt) == ("Once there was a fox. So.\n\nA tale:\nOnce there was a fox. And")


def test_a_chat_has_a_turn_for_each_shot_and_asks_for_the_letter():
    shot = first(EASY, "letter")
    prompt = first(ITEM, "letter", shots=((shot, "A"),), after=("Think.",))

    assert messages(prompt) == [
        {
            "role": "user",
            "content": "Question: What is 1 + 1?\nA. two\nB. six\nAnswer with the letter only.",
        },
        {"role": "assistant", "content": "A"},
        {
            "role": "user",
            "content": "Password: blue\nQuestion: What is 2 + 2?\nA. three\nB. four\nThink.\n"
            "Answer with the letter only.",
        },
    ]
    assert messages(first(EASY, "open")) == [
        {"role": "user", "content": "Question: What is 1 + 1?"}
    ]


def test_a_chat_row_is_laid_out_by_the_template_with_the_prefill_after_it():
    prompt = first(EASY, "open", shots=((first(STORY, "open"), "It ran."),), prefill="It is")

    assert row(prompt, chat_tokenizer(), chat=True).text == (
        "<user>Question: Once there was a fox.</user>\n<assistant>It ran.</assistant>\n"
        "<user>Question: What is 1 + 1?</user>\n<assistant>\nIt is"
    )


def test_a_row_carries_key_and_choices_whatever_the_wording():
    prompt = first(ITEM, "letter")
    reworded = prompt.with_(before=("Hello.",), prefill="I say")
    plain, chat = row(prompt, None, chat=False), row(reworded, chat_tokenizer(), chat=True)

    assert plain.text != chat.text
    assert plain.key == chat.key == prompt.key
    assert plain.choices == chat.choices == ("A", "B")


def test_a_passage_gets_no_chat_template():
    prompt = first(STORY, "text", frame="passage")

    assert row(prompt, chat_tokenizer(), chat=True).text == "Once there was a fox."


def test_a_tokenizer_without_template_is_an_error():
    prompt = first(ITEM, "letter")
    for tokenizer in (None, chat_tokenizer(None)):
        with pytest.raises(SubjectError, match="chat template, got one without.*plain form"):
            row(prompt, tokenizer, chat=True)


def test_a_template_that_refuses_the_turns_is_an_error():
    tokenizer = chat_tokenizer("{{ raise_exception('needs a system turn') }}")
    with pytest.raises(SubjectError, match="lay out 1 turns .*needs a system turn"):
        row(first(ITEM, "letter"), tokenizer, chat=True)


@pytest.mark.parametrize(
    "template",
    ["Assistant:", "{% for m in messages %}{{ m.content[0].text }}{% endfor %}\nAnswer:"],
)
def test_a_prompt_that_does_not_contain_the_question_is_an_error(template):
    with pytest.raises(
        SubjectError, match=r"lay out the question 'What is 1 \+ 1\?', got .* without"
    ):
        row(first(EASY, "open"), chat_tokenizer(template), chat=True)


def test_a_template_that_changes_blanks_only_is_fine():
    tokenizer = chat_tokenizer("<u>{{ messages[-1].content | trim | replace('\n', '\n\n') }}</u>")
    assert "\n\nA. three" in row(first(ITEM, "letter"), tokenizer, chat=True).text


def test_a_template_that_fails_in_any_way_is_an_error():
    tokenizer = chat_tokenizer("{{ 1 // 0 }}")
    with pytest.raises(SubjectError, match="got ZeroDivisionError: "):
        row(first(ITEM, "letter"), tokenizer, chat=True)


THINKING = TEMPLATE + (
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}"
)


def test_a_model_thinks_where_it_writes_and_not_where_choices_are_compared():
    tokenizer = chat_tokenizer(THINKING)
    assert "<think>" not in row(first(EASY, "open"), tokenizer, chat=True).text
    for prompt in (first(EASY, "text"), first(EASY, "open", prefill="It is")):
        assert "<think>\n\n</think>" in row(prompt, tokenizer, chat=True).text


def test_a_block_that_the_template_opens_is_closed_where_choices_are_compared():
    tokenizer = chat_tokenizer(TEMPLATE + "<think>\n")
    assert row(first(EASY, "open"), tokenizer, chat=True).text.endswith("<think>")
    assert row(first(EASY, "text"), tokenizer, chat=True).text.endswith("<think>\n\n</think>\n\n")
