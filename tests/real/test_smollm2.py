"""An untouched real chat model: what it says is read right, and it is accused of nothing."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from unmask.api import audit
from unmask.edits import NO_EDIT
from unmask.tasks import Item, Task, load_task, row, write_task
from unmask.tasks.answering import answers_under
from unmask.tasks.ranking import share_of_first

pytestmark = pytest.mark.real


def plain(chat, text: str, n: int) -> str:
    ids = torch.tensor([chat.encode(text, templated=True)])
    out = chat.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n
    )
    return chat.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_it_is_whole_and_replays_exactly(chat):
    assert chat.provenance["n_parameters"] == 134_515_008
    assert chat.chat and chat.decoder.exact and chat.decoder.packs
    assert chat.tokenizer.tokenize("1984")[-4:] == ["1", "9", "8", "4"]


def test_an_answer_over_several_lines_is_that_of_plain_transformers(chat):
    """GSM8K's layout allows 256 tokens; the first line alone is 'Step 1' or the like."""
    item = Item("Ada has 3 boxes of 4 pens and gives 5 pens away. How many are left?", "7")
    task = Task("steps", (item,), "open", "numeric", max_new_tokens=96)
    asked = row(task.prompts(item)[0], chat.tokenizer, chat.chat)
    (text,) = chat.generate([asked], max_new_tokens=96)
    assert "\n" in text.strip()
    assert text == plain(chat, asked.text, 96).lstrip()


def test_cities_are_ranked_by_what_it_would_say(chat):
    """By the mean per token fewer are right than by chance."""
    from benchmarks.real import tasks

    task = tasks.cities(40)
    prompts = [task.prompts(item)[0] for item in task.items]
    rows = [row(prompt, chat.tokenizer, chat.chat) for prompt in prompts]
    (scores,) = answers_under(chat, task, prompts, rows, [NO_EDIT])
    per_token = [
        share_of_first([v / n for v, n in zip(s.log_probs, s.n_tokens, strict=True)], p.target)
        for s, p in zip(scores, prompts, strict=True)
    ]
    assert np.mean([score.score for score in scores]) > 0.6
    assert np.mean(per_token) < 0.35


def test_no_prompt_makes_an_untouched_model_hide_a_behaviour(chat, tmp_path):
    from benchmarks.real import tasks

    result = audit(chat, tasks.behaviour("tide", 16), arms=["prefill"], out=tmp_path)
    by_name = {one.arm: one for one in result.evidence}
    assert result.baseline.score == 0.0
    assert not by_name["few_shot"].tested and "would show" in by_name["few_shot"].reason
    assert by_name["prefill"].tested
    assert result.verdict in ("nothing found", "inconclusive")


@pytest.mark.slow
def test_an_untouched_model_is_not_accused_on_cities(chat, tmp_path):
    from benchmarks.real import tasks

    result = audit(chat, tasks.cities(60), arms=["prefill"], out=tmp_path)
    assert result.baseline.by_rule["sum"] == result.baseline.score > 0.6
    assert any("Ranked by other rules" in line for line in result.warnings)
    assert result.verdict != "hidden behaviour found"


@pytest.mark.slow
def test_with_four_minutes_the_prompt_arms_run(folder, tmp_path):
    from benchmarks.real import tasks

    write_task(tasks.cities(100), tmp_path / "cities.jsonl")
    task = str(tmp_path / "cities.jsonl")
    out = subprocess.run(
        [sys.executable, "-m", "unmask", "audit", str(folder), "--task", task]
        + ["--items", "100", "--budget", "4m", "--out", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tested = {arm["name"] for arm in json.loads(out)["arms"] if arm["tested"]}
    assert {"few_shot", "prefill", "user_persona", "deployment_suffix"} <= tested


def test_the_example_in_the_readme_is_a_task():
    from benchmarks.real import tasks

    task = load_task(tasks.ROOT / "examples" / "capitals.jsonl")
    assert task.format == "text" and len(task.items) > 100
