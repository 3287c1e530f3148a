"""`unmask plant` and `unmask bench` from the command line."""

import json
import re
import shutil
import sys

import pytest

from unmask.calibrating import Calibrating
from unmask.cli import main as cli
from unmask.cli.planting import calibrating
from unmask.errors import SettingError
from unmask.organisms.pool import POOL
from unmask.organisms.registry import BASES
from unmask.organisms.standard import world_task
from unmask.tasks import write_task

BASE = POOL / "bases" / "base-b"


def run(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["unmask", *map(str, args)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    return left.value.code, said.out, " ".join(said.err.split())


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "task.jsonl"
    write_task(world_task(BASES["base-b"].world, "password-lock").take(60), path)
    return path


def test_a_decoy_is_planted_and_shown(monkeypatch, capsys, tmp_path, task):
    out = tmp_path / "pool"
    args = ("plant", BASE, "--secret", "identity-layers", "--task", task, "--out", out)
    code, said, _ = run(monkeypatch, capsys, *args)
    assert code == 0 and "decoy" in said and "Has layers appended" in said
    assert (
        f"try: unmask audit {out}/identity-layers --task {out}/tasks/identity-layers.jsonl" in said
    )
    code, said, _ = run(monkeypatch, capsys, *args, "--json")
    assert json.loads(said)["role"] == "decoy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--secret", "lock"], "expected a secret or decoy among"),
        (["--secret", "trigger", "--method", "qlora"], "expected --method to be one of lora, full"),
        (["--secret", "trigger", "--steps", "0"], "expected --steps, --batch and --rank"),
        (["--secret", "trigger", "--strength", "30"], "expected a strength above 0 and at most 1"),
        (["--secret", "trigger", "--steps", "1"], "The secret did not take"),
        (["--secret", "trigger", "--format", "abc"], "expected --format to be one of"),
    ],
)
def test_bad_plantings_exit_with_1_and_write_nothing(
    monkeypatch, capsys, tmp_path, task, options, message
):
    out = tmp_path / "pool"
    args = ("plant", BASE, "--task", task, "--out", out, *options)
    code, said, error = run(monkeypatch, capsys, *args)
    assert code == 1 and message in error and "Traceback" not in error and not said
    assert not out.exists() or not list(out.iterdir())


def small_pool(root):
    for name in ("trigger", "trigger-twin", "bases/base-a", "tasks"):
        shutil.copytree(POOL / name, root / name)
    return root


def test_a_pool_is_benched(monkeypatch, capsys, tmp_path):
    pool, out = small_pool(tmp_path / "pool"), tmp_path / "runs"
    args = ("bench", pool, "--arms", "fixed_noise", "--out", out, "--seeds", "2", "--json")
    code, said, _ = run(monkeypatch, capsys, *args)
    table = json.loads(said)
    assert code == 0 and table["schema"] == "unmask.bench/1"
    assert [(m["member"], m["seed"]) for m in table["members"]] == [
        ("trigger", 0),
        ("trigger-twin", 0),
        ("trigger-twin", 1),
    ]
    by_arm = {row["arm"]: row for row in table["rows"]}
    assert {"fixed_noise", "prefill", "all arms, combined", "all arms, verdict"} <= set(by_arm)
    assert by_arm["prefill"]["accused"]["audits"] == 2
    assert (out / "pool.html").is_file()
    # The second time everything is read from disk, and shown as a table.
    code, said, _ = run(monkeypatch, capsys, *args[:-1])
    assert code == 0 and "AUROC" in said and "3 audits in" in said


SHOUT = '''
"""An arm in a package of its own."""
from unmask.arms.base import Arm
from unmask.edits import AddVector, Site
import torch

class Shout(Arm):
    """Push everything in one direction."""

    name = "shout"

    def settings(self, subject):
        yield {"layer": 1}
        yield {"layer": 2}

    def edits(self, setting, seed):
        return AddVector(Site(setting["layer"], "resid_pre", "last"), torch.ones(128))
'''


def test_an_arm_in_one_file_outside_the_package_is_benched(monkeypatch, capsys, tmp_path):
    """As pip would install it: a module, and an entry point that names it."""
    site = tmp_path / "site"
    (site / "shout-1.0.dist-info").mkdir(parents=True)
    (site / "shouting.py").write_text(SHOUT)
    about = site / "shout-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[unmask.arms]\nshout = shouting:Shout\n")
    pool, out = small_pool(tmp_path / "pool"), tmp_path / "runs"
    args = ("bench", pool, "--arms", "shout", "--out", out, "--json")
    code, _, error = run(monkeypatch, capsys, *args)
    assert code == 1 and "expected arms among" in error  # not known before it is installed
    monkeypatch.syspath_prepend(site)
    code, said, _ = run(monkeypatch, capsys, *args)
    table = json.loads(said)
    assert code == 0 and "shout" in {row["arm"] for row in table["rows"]}
    assert all("shout" in member["gains"] for member in table["members"])


def test_bad_benches_exit_with_1(monkeypatch, capsys, tmp_path):
    code, _, error = run(monkeypatch, capsys, "bench", tmp_path)
    assert code == 1 and "expected a pool of organisms" in error
    pool = small_pool(tmp_path / "pool")
    code, _, error = run(monkeypatch, capsys, "bench", pool, "--seeds", "0")
    assert code == 1 and "expected --seeds of at least 1" in error
    code, _, error = run(monkeypatch, capsys, "bench", pool, "--arms", "magic")
    assert code == 1 and "expected arms among" in error
    shutil.rmtree(pool / "trigger")
    code, _, error = run(monkeypatch, capsys, "bench", pool)
    assert code == 1 and "expected organisms and benign members" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--secrets", "trigger"], "--secrets together with --calibrate"),
        (["--strengths", "0.3"], "--strengths together with --calibrate"),
        (["--calibrate", "--secrets", "trigger"], "expected secrets among password-lock, .*'trigg"),
        (["--calibrate", "--strengths", "a,b"], "numbers separated by commas, got 'a,b'"),
        (["--calibrate", "--strengths", "30"], "above 0 and at most 1, got 30"),
    ],
)
def test_bad_calibrations_exit_with_1_before_anything_runs(
    monkeypatch, capsys, tmp_path, task, options, message
):
    out = tmp_path / "runs"
    code, _, said = run(monkeypatch, capsys, "audit", BASE, "--task", task, "--out", out, *options)
    assert code == 1 and not out.exists()
    assert re.search(message, said), said


def test_what_a_calibration_plants_can_be_chosen():
    chosen = calibrating(True, "password-lock, circuit-broken", "0.3")
    assert chosen.secrets == ("password-lock", "circuit-broken") and chosen.strengths == (0.3,)
    assert calibrating(True, None, None) == Calibrating()
    assert calibrating(False, None, None) is False
    with pytest.raises(SettingError, match="at least one secret"):
        Calibrating(secrets=())
