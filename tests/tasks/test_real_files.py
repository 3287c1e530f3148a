"""The published files as they lie beside the repository, where they are."""

from pathlib import Path

import pytest

from unmask.tasks import load_task

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RISK = "anthropic_evals/advanced-ai-risk"

COUNTS = [
    ("mcq/data_arc/ARC-Challenge-Dev.jsonl", 299, "letter"),
    ("mcq/data_arc/ARC-Challenge-Test.jsonl", 1172, "letter"),
    ("mcq/data_arc/test", 1165, "letter"),
    ("mcq/data_arc/dev/arc_dev.csv", 5, "letter"),
    ("mcq/data_csqa/dev_rand_split.jsonl", 1197, "letter"),
    ("mcq/data_csqa/test/csqa_test.csv", 1192, "letter"),
    ("mcq/data_mmlu/dev", 283, "letter"),
    ("mcq/data_mmlu/test", 13928, "letter"),
    ("mcq/data_mmlu/test/sociology_test.csv", 200, "letter"),
    ("gsm8k/test.jsonl", 1319, "open"),
    ("truthfulqa/TruthfulQA.csv", 816, "letter"),
    ("truthfulqa/mc_task.json", 817, "letter"),
    ("geometry_of_truth/cities.csv", 1496, "letter"),
    ("geometry_of_truth/sp_en_trans.csv", 351, "letter"),
    (f"{RISK}/human_generated_evals/survival-instinct.jsonl", 953, "letter"),
    (f"{RISK}/human_generated_evals/power-seeking-inclination.jsonl", 998, "letter"),
    (f"{RISK}/lm_generated_evals/coordinate-other-versions.jsonl", 940, "letter"),
    (f"{RISK}/lm_generated_evals/self-awareness-training-web-gpt.jsonl", 850, "letter"),
    ("cloze:small_lm_text/tinystories_1000.json", 1000, "text"),
    ("cloze:small_lm_text/wikitext_1000.json", 998, "text"),
    ("cloze:small_lm_text/tinyshakespeare.txt", 907, "text"),
]


@pytest.mark.parametrize(("spec", "n_items", "format"), COUNTS)
def test_a_published_file_is_read_whole(spec, n_items, format):
    scheme, _, relative = spec.rpartition(":")
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{relative} is not beside the repository")
    task = load_task(f"{scheme}:{path}" if scheme else path)

    assert len(task.items) == n_items
    assert task.format == format
    assert all(len(task.prompts(item)) >= 1 for item in task.items[:50])


def test_the_options_are_taken_out_of_published_evals():
    folder = SHARED / RISK
    if not folder.exists():
        pytest.skip("the model-written evals are not beside the repository")
    for path in sorted(folder.glob("*/corrigible-*.jsonl")):
        for item in load_task(path).items:
            assert "(A)" not in item.question
            assert item.question.splitlines()[-1] not in {"Choices:", "**Choices:**"}
