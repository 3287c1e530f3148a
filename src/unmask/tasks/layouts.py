"""The layouts of task files: how each kind of record becomes an item."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unmask.tasks.answers import (
    Fields,
    listed_options,
    open_answer,
    optional_text,
    resolve_answer,
    text_of,
    texts_of,
)
from unmask.tasks.faults import defect, fault, show
from unmask.tasks.item import LETTERS, Item, check_distinct
from unmask.tasks.matching import Match
from unmask.tasks.task import Measures


@dataclass(frozen=True)
class Layout:
    """One kind of record: how it is told, and how it is read."""

    name: str
    looks: str
    """What its records look like, for the message about an unknown layout."""
    fits: Callable[[Fields], bool]
    """Whether a file whose first record is this one has the layout."""
    read: Callable[[Fields], Item]
    match: Match = "exact"
    max_new_tokens: int = 24
    measures: Measures = "capability"


def _read_plain(record: Fields) -> Item:
    question, context = text_of(record, "question"), optional_text(record, "context")
    options = listed_options(record)
    if not options:
        return Item(question, open_answer(record), context=context)
    answer = record.get("answer")
    given = text_of(record, "answer") if answer in (None, "") else answer
    right = resolve_answer(given, options)
    return Item(question, right, options, context)


def _read_gsm8k(record: Fields) -> Item:
    answer = text_of(record, "answer")
    _, mark, final = answer.rpartition("####")
    if not mark or not final.strip():
        raise fault(
            "answer",
            "a solution that ends in '#### ' and the result",
            show(answer[-40:]),
            "The solution may have been cut short. Add the line '#### result'.",
        )
    return Item(text_of(record, "question"), final.strip())


def _is_arc(record: Fields) -> bool:
    question = record.get("question")
    return "answerKey" in record and isinstance(question, dict) and "stem" in question


def _read_arc(record: Fields) -> Item:
    question = record.get("question")
    if not isinstance(question, dict):
        raise fault(
            "question",
            "an object with 'stem' and 'choices'",
            show(question),
            "The file may mix two layouts. Give every record the same one.",
        )
    choices = question.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise fault(
            "choices",
            "a list of objects with 'label' and 'text'",
            show(choices),
            "The record may be cut short. Mend the list.",
        )
    labels = texts_of("label", [choice.get("label") for choice in choices])
    options = texts_of("text", [choice.get("text") for choice in choices])
    return _by_label(text_of(question, "stem"), labels, options, text_of(record, "answerKey"))


def _is_labelled(record: Fields) -> bool:
    choices = record.get("choices")
    return "answerKey" in record and isinstance(choices, dict) and {"text", "label"} <= {*choices}


def _read_labelled(record: Fields) -> Item:
    if not _is_labelled(record):
        raise fault(
            "choices",
            "an object with the lists 'label' and 'text', beside 'answerKey'",
            show(record.get("choices")),
            "The file may mix two layouts. Give every record the same one.",
        )
    labels = texts_of("label", record["choices"]["label"])
    options = texts_of("text", record["choices"]["text"])
    return _by_label(text_of(record, "question"), labels, options, text_of(record, "answerKey"))


def _by_label(question: str, labels: tuple[str, ...], options: tuple[str, ...], key: str) -> Item:
    if len(labels) != len(options) or len(set(labels)) != len(labels):
        raise fault(
            "label",
            f"{len(options)} different labels, one for each option",
            show(list(labels)),
            "A choice may be missing or doubled. Mend the choices.",
        )
    if key not in labels:
        raise fault(
            "answerKey",
            f"one of the labels {', '.join(labels)}",
            show(key),
            "The choice it names may be missing. Mend the key or the choices.",
        )
    check_distinct(options, defect)
    return Item(question, options[labels.index(key)], options)


def _read_mc1(record: Fields) -> Item:
    targets = record.get("mc1_targets")
    if not isinstance(targets, dict) or any(value not in (0, 1) for value in targets.values()):
        raise fault(
            "mc1_targets",
            "an object from option to 0 or 1",
            show(targets),
            "The record may be cut short. Mend the object.",
        )
    options = texts_of("mc1_targets", list(targets))
    right = [option.strip() for option, value in targets.items() if value]
    if len(right) != 1:
        raise fault(
            "mc1_targets",
            "one option with 1",
            f"{len(right)} of {len(targets)}",
            "Records with several right answers are in mc2_targets. Mark exactly one with 1.",
        )
    check_distinct(options, defect)
    return Item(text_of(record, "question"), right[0], options)


def _read_truthfulqa(record: Fields) -> Item:
    best = text_of(record, "best answer")
    wrong = text_of(record, "incorrect answers").split(";")
    options = (best, *(text.strip() for text in wrong if text.strip()))
    check_distinct(options, defect)
    return Item(text_of(record, "question"), best, options)


_STATEMENT_LABELS = {"1": "True", "true": "True", "0": "False", "false": "False"}


def _read_statement(record: Fields) -> Item:
    label = text_of(record, "label")
    if label.casefold() not in _STATEMENT_LABELS:
        raise fault(
            "label",
            "1 or 0, or true or false",
            show(label),
            "The columns may be shifted by a comma without quotes. Mend the row.",
        )
    question = f"Is this statement true or false? {text_of(record, 'statement')}"
    return Item(question, _STATEMENT_LABELS[label.casefold()], ("True", "False"))


def _read_mmlu(record: Fields) -> Item:
    options = texts_of("options", record["options"])
    letter = text_of(record, "answer")
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise fault(
            "answer",
            f"a letter from A to {LETTERS[len(options) - 1]} in the last column",
            show(letter),
            "The columns may be shifted by a comma without quotes. Mend the row.",
        )
    check_distinct(options, defect)
    return Item(text_of(record, "question"), options[LETTERS.index(letter)], options)


_MARKER = re.compile(r"^[ \t]*\(([A-Z])\)", re.MULTILINE)
_HEADING = re.compile(
    # Some stand in bold, as a quotation or as a list entry.
    r"(?:^|\n)[ \t*_>-]*(?:(?:answer|possible|your)\s+)?(?:choices?|answers?|options?|responses?)"
    r"[ \t*_:]*$",
    re.IGNORECASE,
)


def _read_evals(record: Fields) -> Item:
    matching = text_of(record, "answer_matching_behavior")
    question = text_of(record, "question").removeprefix("Question:").strip()
    question = question.removesuffix("Answer:").rstrip()
    letter = re.fullmatch(r"\(([A-Z])\)", matching)
    if not letter:
        other = text_of(record, "answer_not_matching_behavior")
        # Both orders occur in a file, so the place of the answer says nothing.
        return Item(question, matching, tuple(sorted((matching, other), reverse=True)))
    stem, options = _split_options(question)
    place = LETTERS.index(letter[1])
    if place >= len(options):
        raise fault(
            "answer_matching_behavior",
            f"one of the {len(options)} options of the question",
            show(matching),
            "The option it names may be missing. Mend the record.",
        )
    for field, text in (("question", stem), *(("options", option) for option in options)):
        if not text:
            raise defect(
                field,
                "a text that is not blank beside the markers (A), (B), ...",
                show(question),
                "Some records are templates that were not filled in. Remove the record.",
            )
    check_distinct(options, defect)
    return Item(stem, options[place], options)


def _split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """Take the options (A), (B), ... at the starts of lines out of a question."""
    markers = list(_MARKER.finditer(question))
    letters = "".join(marker[1] for marker in markers)
    start = letters.find("A")
    if letters.count("A") != 1 or letters[start:] != LETTERS[: len(letters) - start]:
        raise defect(
            "question",
            "the options (A), (B), ... once each and in order, at the starts of lines",
            f"the markers {show(letters)}",
            "Some records hold several questions. Split the record, or remove it.",
        )
    ends = [*(marker.start() for marker in markers[start + 1 :]), len(question)]
    options = tuple(
        " ".join(question[marker.end() : end].split())
        for marker, end in zip(markers[start:], ends, strict=True)
    )
    stem = question[: markers[start].start()].rstrip()
    return _HEADING.sub("", stem).rstrip(), options


def _has(names: set[str]) -> Callable[[Fields], bool]:
    return lambda record: names <= set(record)


def _is_gsm8k(record: Fields) -> bool:
    answer: Any = record.get("answer")
    if not isinstance(answer, str) or "####" not in answer:
        return False
    return "question" in record and not {"options", "choices"} & set(record)


PLAIN = Layout(
    "plain",
    "question, answer, and perhaps options (or choices), context, match, measures and format",
    _has({"question", "answer"}),
    _read_plain,
)
"""Records of this project's own layout, in jsonl, json or csv with a header."""

JSON_LAYOUTS = (
    Layout("ARC", "question {stem, choices [{label, text}]}, answerKey", _is_arc, _read_arc),
    Layout("ARC, flat", "question, choices {label, text}, answerKey", _is_labelled, _read_labelled),
    Layout("TruthfulQA", "question, mc1_targets", _has({"question", "mc1_targets"}), _read_mc1),
    Layout(
        "model-written evals",
        "question, answer_matching_behavior, answer_not_matching_behavior",
        _has({"question", "answer_matching_behavior"}),
        _read_evals,
        measures="behaviour",
    ),
    Layout(
        "GSM8K", "question, answer ending in '#### result'", _is_gsm8k, _read_gsm8k, "numeric", 256
    ),
    PLAIN,
)
"""Layouts of json and jsonl files; the first that fits is taken."""

CSV_LAYOUTS = (
    Layout("true/false", "statement, label", _has({"statement", "label"}), _read_statement),
    Layout(
        "TruthfulQA",
        "Question, Best Answer, Incorrect Answers",
        _has({"question", "best answer", "incorrect answers"}),
        _read_truthfulqa,
    ),
    PLAIN,
)
"""Layouts of csv files with a header, whose names are compared without regard to case."""

MMLU = Layout(
    "MMLU", "no header; question, the options, the answer's letter", _has({"answer"}), _read_mmlu
)
"""The layout of csv files without a header."""
