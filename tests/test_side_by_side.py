"""Audits side by side: what a job asks for is what is done."""

import json

from unmask.organisms.pool import POOL, members
from unmask.side_by_side import Job, audit_all


def test_a_job_has_its_own_items_task_and_seed(tmp_path):
    first, *_ = members(POOL)
    task = tmp_path / "half.jsonl"
    lines = first.task.read_text().splitlines()
    task.write_text("\n".join(lines[::2]) + "\n")
    arms = ("prefill",)
    jobs = [
        Job(POOL, first.name, tmp_path / "runs", 0, arms, items=40),
        Job(POOL, first.name, tmp_path / "runs", 1, arms, items=30, task=task),
    ]
    whole, half = audit_all(jobs)
    assert (whole.task["items"], half.task["items"]) == (40, 30)
    assert (whole.task["available"], half.task["available"]) == (len(lines), len(lines[::2]))
    assert whole.plan["seed"] == 0 and half.plan["seed"] == 1
    assert "--task" in half.command and "--task" not in whole.command
    assert json.loads(json.dumps(whole.to_json()))
