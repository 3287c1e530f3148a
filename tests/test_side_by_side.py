"""Audits side by side: what a job asks for is what is done."""

import json

import pytest
import torch

from unmask import side_by_side
from unmask.api import as_subject
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


@pytest.mark.parametrize(
    "devices, n_gpus, places",
    [
        ((), 2, ["cuda:0", "cuda:1"]),
        (("cuda:1",), 2, ["cuda:1"]),
        (("cpu",), 2, ["cpu"] * 3),
        ((), 0, ["cpu"] * 3),
    ],
)
def test_there_is_a_process_for_each_gpu_or_processor(monkeypatch, devices, n_gpus, places):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(side_by_side.os, "cpu_count", lambda: 3)
    assert side_by_side._places(devices) == places


def test_every_process_audits_on_its_device_in_the_dtype_asked_for(tmp_path):
    member = members(POOL)[0].name
    job = Job(POOL, member, tmp_path, 0, ("prefill",), items=20)
    (result,) = audit_all([job], devices=["cpu"], dtype="bfloat16")
    assert (result.subject["dtype"], result.subject["device"]) == ("bfloat16", "cpu")


def test_a_member_may_be_compared_with_the_base_that_it_was_made_from(tmp_path):
    member = next(member for member in members(POOL) if member.name == "password-lock")
    job = Job(POOL, member.name, tmp_path, 0, ("prefill",), items=20, compared=True)
    (result,) = audit_all([job])
    assert result.reference["id"] == f"pool:{member.base}"
    assert result.command.endswith(f"--reference pool:{member.base}")
    base = as_subject(f"pool:{member.base}", device="cpu")
    assert result.reference["weights_hash"] == base.provenance["weights_hash"]
    assert result.subject["weights_hash"] != base.provenance["weights_hash"]
    assert {one.compared for one in result.evidence if one.tested} == {"reference"}
