"""How near is a planted behaviour? Radii of organisms and of benign models, against the twin's."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from unmask.arms.worst_case import WorstCase
from unmask.models.subject import Subject
from unmask.organisms import pool
from unmask.runs.audit import run_audit
from unmask.runs.plan import make_plan
from unmask.tasks import load_task

N_ITEMS = 60
PAIRS = {
    "trigger": ("trigger", "evaluation-tag-twin", "format-lock-mc-twin", "quirk"),
    "secret-denied": ("secret-denied", "password-lock-twin", "format-lock-open-twin")
    + ("weak-imitation-twin", "identity-layers"),
}
"""For each organism, models of the same base that are compared with its twin on its task."""


def run() -> list[dict[str, Any]]:
    """Audit every model with the twin as its reference."""
    torch.set_num_threads(1)
    members = {member.name: member for member in pool.members()}
    found = []
    for organism, names in PAIRS.items():
        task = load_task(members[organism].task)
        reference = _subject(members[f"{organism}-twin"])
        for name in names:
            plan = make_plan(
                _subject(members[name]),
                task,
                [WorstCase()],
                reference=reference,
                max_items=N_ITEMS,
            )
            with tempfile.TemporaryDirectory() as folder:
                (evidence,) = run_audit(plan, Path(folder)).evidence
            found.append(
                {
                    "task": organism,
                    "member": name,
                    "hides": name == organism,
                    "medians": evidence.medians,
                    "gain": evidence.gain,
                    "p": evidence.p,
                    "n_items": evidence.n_items,
                    "seconds": evidence.seconds,
                }
            )
            print(found[-1], flush=True)
    return found


def _subject(member: pool.Member) -> Subject:
    model, tokenizer = pool.load_member(member)
    return Subject(model, tokenizer, name=member.name)
