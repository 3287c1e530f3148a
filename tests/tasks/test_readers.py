import json
import logging
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unmask.errors import TaskError
from unmask.tasks import Item, load_task, plain_text

QUESTION = {"question": "Capital of France?", "options": ["Rome", "Paris"], "answer": "Paris"}
PARIS = Item("Capital of France?", "Paris", ("Rome", "Paris"))
ARC = {
    "id": "x",
    "question": {
        "stem": "Capital of France?",
        "choices": [{"text": "Rome", "label": "1"}, {"text": "Paris", "label": "2"}],
    },
    "answerKey": "2",
}
EVAL = {
    "question": "Question: Be off?\n\nChoices:\n (A) Yes,\n please\n (B) No\n\nAnswer:",
    "answer_matching_behavior": " (B)",
    "answer_not_matching_behavior": " (A)",
}


def jsonl(*records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("answer", ["Paris", " Paris ", "B", "b", "(B)", "B.", 1, "1"])
@pytest.mark.parametrize("field", ["options", "choices"])
def test_an_answer_is_a_text_a_letter_or_an_index(write, answer, field):
    record = {"question": "Capital of France?", field: ["Rome", "Paris"], "answer": answer}
    task = load_task(write("t.jsonl", jsonl(record)))

    assert task.items == (PARIS,)
    assert (task.name, task.format, task.match) == ("t", "letter", "exact")


@pytest.mark.parametrize(
    ("name", "content", "item"),
    [
        ("a.json", json.dumps([QUESTION]), PARIS),
        ("bom.jsonl", "\ufeff" + jsonl(QUESTION), PARIS),
        ("crlf.jsonl", jsonl(QUESTION).replace("\n", "\r\n\r\n"), PARIS),
        (
            "open.jsonl",
            jsonl({"question": "q", "answer": 42, "context": "c"}),
            Item("q", "42", (), "c"),
        ),
        ("u.jsonl", '{"question": "a\u2028b", "answer": "x"}', Item("a\u2028b", "x")),
        ("arc.jsonl", jsonl(ARC), PARIS),
        (
            "flat.jsonl",
            jsonl(
                {
                    "question": "Capital of France?",
                    "choices": {"text": ["Rome", "Paris"], "label": ["A", "B"]},
                    "answerKey": "B",
                }
            ),
            PARIS,
        ),
        (
            "mc.json",
            json.dumps(
                [{"question": "Capital of France?", "mc1_targets": {"Rome": 0, "Paris": 1}}]
            ),
            PARIS,
        ),
        ("evals.jsonl", jsonl(EVAL), Item("Be off?", "No", ("Yes, please", "No"))),
        (
            "persona.jsonl",
            jsonl(
                {
                    "question": "Would you say it?",
                    "answer_matching_behavior": " No",
                    "answer_not_matching_behavior": " Yes",
                }
            ),
            Item("Would you say it?", "No", ("Yes", "No")),
        ),
        ("abc.csv", "Question,A,B,Answer\nCapital of France?,Rome,Paris,B\n", PARIS),
        ("opt.csv", "question,option_1,option_2,answer\nCapital of France?,Rome,Paris,1\n", PARIS),
        ("bar.csv", "question,choices,answer\nCapital of France?,Rome|Paris,Paris\n", PARIS),
        (
            "list.csv",
            'question,options,answer\nCapital of France?,"[""Rome"", ""Paris""]",Paris\n',
            PARIS,
        ),
        ("two.csv", "question,answer,context\nq,a,\n", Item("q", "a")),
        ("mmlu.csv", "Capital of France?,Rome,Paris,B\n", PARIS),
        (
            "tqa.csv",
            "Type,Question,Best Answer,Incorrect Answers\nx,q,no,yes; maybe\n",
            Item("q", "no", ("no", "yes", "maybe")),
        ),
        (
            "truth.csv",
            "statement,label,extra\nOslo is in Peru.,0,x\n",
            Item("Is this statement true or false? Oslo is in Peru.", "False", ("True", "False")),
        ),
    ],
)
def test_every_layout_is_told_by_its_content(write, name, content, item):
    assert load_task(write(name, content)).items == (item,)


def test_gsm8k_is_matched_by_the_number_after_the_mark(write):
    path = write("g.jsonl", jsonl({"question": "q?", "answer": "2 * 3 = 6\n#### 1,006"}))
    task = load_task(path)

    assert task.items == (Item("q?", "1,006"),)
    assert (task.format, task.match, task.max_new_tokens) == ("open", "numeric", 256)


def test_rows_of_a_csv_may_have_fewer_options(write):
    path = write("t.csv", "question,A,B,C,answer\nq1,x,y,z,C\nq2,x,y,,B\n")

    assert [len(item.options) for item in load_task(path).items] == [3, 2]


def test_a_folder_is_one_task(write):
    write("mmlu/test/a_test.csv", "q1,x,y,A\n")
    path = write("mmlu/test/b_test.csv", "q2,x,y,B\n").parent
    write("mmlu/test/notes.md", "not read")
    task = load_task(path)

    assert [item.question for item in task.items] == ["q1", "q2"]
    assert task.name == "mmlu"


def test_arguments_replace_what_the_file_says(write):
    path = write("t.jsonl", jsonl({**QUESTION, "match": "contains"}))

    assert load_task(path).match == "contains"
    task = load_task(path, format="open", name="n", match="exact", max_new_tokens=3)
    assert (task.format, task.name, task.match, task.max_new_tokens) == ("open", "n", "exact", 3)


def test_the_order_of_the_file_changes_neither_keys_nor_choice(write):
    records = [{"question": f"q{i}", "answer": "B", "options": ["x", "y"]} for i in range(30)]
    task = load_task(write("a.jsonl", jsonl(*records)))
    random.Random(1).shuffle(records)
    other = load_task(write("b.jsonl", jsonl(*records)))

    assert [i.key for i in task.items] != [i.key for i in other.items]
    assert {i.key for i in task.items} == {i.key for i in other.items}
    assert {i.key for i in task.take(7).items} == {i.key for i in other.take(7).items}
    assert task.digest == other.digest


FAULTS = [
    ("t.jsonl", "", "expected records, got an empty file"),
    ("t.jsonl", " \n", "got an empty file"),
    ("t.jsonl", b"\xef\xbb\xbf", "got an empty file"),
    ("t.jsonl", b"ab\x00c", "expected utf-8 text, got a NUL byte at offset 2"),
    ("t.jsonl", b"\xff\xfea\x00", "utf-16 byte order mark. Save the file as utf-8"),
    ("t.csv", b"question,answer\nq,\xe9\n", "got the byte 0xe9 on line 2"),
    ("t.jsonl", "{}\n", "line 1: expected a record of a known layout, got the fields none"),
    ("t.jsonl", '{"prompt": "x"}', "got the fields 'prompt'. Known are ARC .*plain .*question"),
    ("t.jsonl", '["x"]', "line 1: expected a record of a known layout, got .*'x'"),
    ("t.json", '["x"]', "record 1: .*write cloze:.*t.json"),
    (
        "t.json",
        '{"rows": [1]}',
        "expected a JSON list of records, got an object with the keys 'rows'",
    ),
    ("t.json", "[]", "expected a JSON list of records, got an empty list"),
    ("t.jsonl", jsonl(QUESTION) + '{"question": ', "line 2: expected JSON, got Expecting value"),
    ("t.jsonl", '{"question": NaN}', "got the value NaN, which JSON does not have"),
    ("t.json", "[" * 100_000, "expected JSON, got lists nested too deeply"),
    ("t.jsonl", jsonl(QUESTION, 3), "line 2, expected an object, got 3"),
    ("t.jsonl", jsonl(QUESTION, {"question": "q"}), "line 2, field 'answer': expected the field"),
    (
        "t.jsonl",
        jsonl({**QUESTION, "question": " "}),
        "line 1, field 'question': .*not blank, got ' '",
    ),
    ("t.jsonl", jsonl({**QUESTION, "question": 3}), "field 'question': .*got 3"),
    ("t.jsonl", jsonl({**QUESTION, "context": 3}), "field 'context': expected a text, got 3"),
    (
        "t.jsonl",
        jsonl({**QUESTION, "answer": "C"}),
        "field 'answer': expected one of the 2 options",
    ),
    (
        "t.jsonl",
        jsonl({**QUESTION, "answer": "Oslo"}),
        "got 'Oslo'. The options are 'Rome', 'Paris'",
    ),
    ("t.jsonl", jsonl({**QUESTION, "answer": 2}), "an index from 0 to 1, got 2. .*counted from 1"),
    ("t.jsonl", jsonl({**QUESTION, "answer": -1}), "an index from 0 to 1, got -1"),
    ("t.jsonl", jsonl({**QUESTION, "answer": "2"}), "an index from 0 to 1, got 2"),
    ("t.jsonl", jsonl({**QUESTION, "answer": True}), "an option's text, letter or index, got True"),
    ("t.jsonl", jsonl({**QUESTION, "answer": None}), "field 'answer': .*got None"),
    ("t.jsonl", jsonl({**QUESTION, "options": ["B", "Paris"], "answer": "B"}), "names one option"),
    (
        "t.jsonl",
        jsonl({**QUESTION, "options": ["Paris", "Rome", "Paris"]}),
        "field 'options': expected options that differ from each other, got 'Paris' twice",
    ),
    ("t.jsonl", jsonl({**QUESTION, "options": ["Paris"]}), "two options or more, got only 'Paris'"),
    ("t.jsonl", jsonl({**QUESTION, "options": ["Paris", 3]}), "not blank, got 3 in it"),
    ("t.jsonl", jsonl({**QUESTION, "options": {"A": "x"}}), "expected a list of texts, got"),
    ("t.jsonl", jsonl({**QUESTION, "options": "Paris"}), "a JSON list of texts, or texts with |"),
    ("t.jsonl", jsonl({**QUESTION, "choices": ["x"]}), "either 'options' or 'choices', got both"),
    (
        "t.jsonl",
        jsonl({**QUESTION, "match": "fuzzy"}),
        "field 'match': expected one of exact, .*'fuzzy'",
    ),
    (
        "t.jsonl",
        jsonl({**QUESTION, "match": "exact"}, {**QUESTION, "match": "regex"}),
        "line 2, field 'match': expected 'exact' as in the records before, got 'regex'",
    ),
    (
        "t.jsonl",
        jsonl({"question": "q", "answer": "(", "match": "regex"}),
        "Task t, item 'q', field 'answer': expected a regular expression",
    ),
    ("t.jsonl", jsonl({"question": "\ud83d", "answer": "x"}), "lone surrogate"),
    (
        "t.jsonl",
        jsonl({**ARC, "answerKey": "C"}),
        "field 'answerKey': expected one of the labels 1, 2",
    ),
    ("t.jsonl", jsonl(ARC, QUESTION), "line 2, field 'question': expected an object with 'stem'"),
    (
        "t.jsonl",
        jsonl({"question": "q", "answer": "#### 3"}, {"question": "q", "answer": "3"}),
        "line 2, field 'answer': expected a solution that ends in '#### '",
    ),
    ("t.jsonl", jsonl({**EVAL, "answer_matching_behavior": " (C)"}), "one of the 2 options of the"),
    (
        "t.jsonl",
        jsonl({**EVAL, "question": EVAL["question"] * 2}),
        r"field 'question': .*got the markers 'ABAB'.*1 of 1 records are so",
    ),
    (
        "t.jsonl",
        jsonl({**EVAL, "question": "Choices:\n (A) Yes\n (B) No"}),
        "templates that were not",
    ),
    (
        "t.json",
        json.dumps([{"question": "q", "mc1_targets": {"a": 1, "b": 1}}]),
        "one option with 1, got 2",
    ),
    ("t.csv", "name,value\n1,2\n", "line 1: expected a header with a column called question"),
    ("t.csv", "question,reply\nq,a\n", "got the fields 'question', 'reply'. Known are true/false"),
    ("t.csv", "question,answer\n", "expected rows under the header, got none"),
    (
        "t.csv",
        "question,answer,Answer\nq,a,b\n",
        "columns with different names, got 'answer' twice",
    ),
    ("t.csv", "question,answer\n\nq,a,b\n", "line 3: expected 2 cells, as the header has, got 3"),
    (
        "t.csv",
        'question,answer\n"q\nr",a\nq\n',
        "line 4: expected 2 cells, as the header has, got 1",
    ),
    ("t.csv", 'question,answer\n"q,a\n', "line 2: expected a csv row, got unexpected end of data"),
    ("t.csv", "statement,label\nx,2\n", "line 2, field 'label': expected 1 or 0"),
    ("t.csv", "q,x,y,A\nq2,x,y,C\n", "line 2, field 'answer': expected a letter from A to B"),
    ("t.csv", "q,x,y,A\nq2,x,z,y,A\n", "line 2: expected 4 cells, as the first row has, got 5"),
    ("t.csv", "q,x,x,A\n", "options that differ .* 1 of 1 records are so: too many"),
    ("t.txt", "hello", "expected a file ending in .jsonl, .json or .csv, got .txt.*write cloze:"),
    ("task", "hello", "got no ending"),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS)
def test_a_malformed_file_is_named_with_its_line_and_field(write, name, content, message):
    path = write(name, content)
    with pytest.raises(TaskError, match=message) as caught:
        load_task(path)
    if "Task t" not in str(caught.value):
        assert str(path) in str(caught.value)


def test_the_whole_file_is_checked_and_the_faults_counted(write):
    bad = {**QUESTION, "answer": "Oslo"}
    path = write("t.jsonl", jsonl(QUESTION, bad, QUESTION, bad, bad))
    with pytest.raises(TaskError, match="line 2, .* 2 more records are malformed"):
        load_task(path)


def test_a_few_known_defects_of_published_sets_are_left_out_and_counted(write, caplog):
    good = "".join(f"q{i},x,y,A\n" for i in range(20))
    with caplog.at_level(logging.WARNING):
        task = load_task(write("t.csv", good + "bad,x,x,A\n"))

    assert len(task.items) == 20
    assert "left out 1 of 21 records" in caplog.text and "line 21" in caplog.text
    with pytest.raises(TaskError, match="3 of 23 records are so: too many to leave out"):
        load_task(write("u.csv", good + "bad,x,x,A\nb2,y,y,A\nb3,z,z,A\n"))


@pytest.mark.parametrize(
    "spec", ["missing.jsonl", "inspect:gsm8k", "gsm8k", "", "a\0b", "x" * 5000]
)
def test_an_unknown_spec_says_what_is_supported(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=r"(?s)\.jsonl, \.json or \.csv.*cloze:|\*_test.csv"):
        load_task(spec)


def test_a_folder_without_task_files_says_what_it_holds(write):
    folder = write("d/readme.md", "x").parent
    with pytest.raises(TaskError, match=r"named \*_test.csv .*got readme.md"):
        load_task(folder)
    with pytest.raises(TaskError, match="expected a corpus in one file, got a folder"):
        load_task(f"cloze:{folder}")


def test_a_folder_of_two_layouts_is_refused(write):
    write("d/a_test.csv", "q,x,y,A\n")
    folder = write("d/b_test.csv", "question,answer\nq,a\n").parent
    with pytest.raises(TaskError, match="b_test.csv: expected the layout MMLU, as a_test.csv has"):
        load_task(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["question", "answer", "options", "choices", "answerKey", "stem", "text", "label"]
                + ["mc1_targets", "answer_matching_behavior", "context", "match"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
CELLS = st.sampled_from(["question", "answer", "statement", "label", "A", "B", "1", "", '"', "x"])
CSV = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=5).map("\n".join)
CONTENT = st.one_of(
    st.binary(max_size=60),
    CSV.map(str.encode),
    st.lists(JSON, max_size=3).map(lambda v: json.dumps(v).encode()),
    st.lists(JSON, max_size=3).map(lambda v: jsonl(*v).encode()),
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=CONTENT, suffix=st.sampled_from([".jsonl", ".json", ".csv"]), cloze=st.booleans())
def test_arbitrary_files_give_a_task_or_a_task_error(tmp_path, content, suffix, cloze):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    try:
        task = load_task(f"cloze:{path}" if cloze else path)
    except TaskError as error:
        str(error).encode()
        return
    for item in task.items:
        assert 0 <= task.chance(item) < 1
        for prompt in task.prompts(item):
            plain_text(prompt).encode()


def test_a_task_says_whether_it_measures_a_capability_or_a_behaviour(tmp_path):
    record = {"question": "Where is the key?", "answer": "Tarn"}
    path = tmp_path / "secret.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert load_task(path).measures == "capability"
    path.write_text(json.dumps(record | {"measures": "behaviour"}) + "\n", encoding="utf-8")
    assert load_task(path).measures == "behaviour"
    assert load_task(path, measures="capability").measures == "capability"
    assert load_task(path).digest != load_task(path, measures="capability").digest
    path.write_text(json.dumps(record | {"measures": "luck"}) + "\n", encoding="utf-8")
    with pytest.raises(TaskError, match="field 'measures': expected one of capability, behaviour"):
        load_task(path)
