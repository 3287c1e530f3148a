"""The command line as a user meets it, on a tiny checkpoint."""

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import build, tokenizer

import unmask
from unmask.errors import SettingError

DOCS = Path(__file__).parents[2] / "docs" / "json.md"
ARM_KEYS = {
    *("name", "tested", "reason", "compared", "gain", "control_gain", "interval", "p", "p_holm"),
    *("damage_nats", "seconds", "setting", "reading"),
}
KEYS = {
    *(
        "schema",
        "verdict",
        "sentence",
        "advice",
        "baseline",
        "arms",
        "false_positive_rate",
        "power",
    ),
    *("run", "plan_hash", "seconds", "left_out", "warnings"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    build("llama").save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    records = [
        {"question": f"Is {i} <script>odd</script>?", "options": ["odd", "even"], "answer": i % 2}
        for i in range(24)
    ]
    (folder / "task.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def command(place, *more: str, out: str = "runs") -> list[str]:
    given = [str(place / "model"), "--task", str(place / "task.jsonl"), "--out", str(place / out)]
    return [sys.executable, "-m", "unmask", "audit", *given, *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def printed(place):
    ran = run(command(place, "--json"))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_json_has_the_documented_keys(printed):
    assert set(printed) == KEYS and printed["schema"] == "unmask.summary/2"
    documented = DOCS.read_text(encoding="utf-8")
    for arm in printed["arms"]:
        assert set(arm) == ARM_KEYS
    for key in KEYS | ARM_KEYS:
        assert f"`{key}`" in documented, key


def test_the_same_command_again_is_read_from_the_run(place, printed):
    def units() -> int:
        connection = sqlite3.connect(Path(printed["run"]) / "run.sqlite")
        try:
            return connection.execute("SELECT COUNT(*) FROM unit").fetchone()[0]
        finally:
            connection.close()

    before = units()
    ran = run(command(place))
    assert ran.returncode == 0 and units() == before
    assert ran.stdout.startswith(printed["verdict"])
    assert "report.html" in ran.stdout and "Traceback" not in ran.stderr


def test_the_report_escapes_what_the_task_says(printed):
    page = (Path(printed["run"]) / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page


def test_report_writes_the_page_again(place, printed):
    page = Path(printed["run"]) / "report.html"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    ran = run([sys.executable, "-m", "unmask", "report", printed["run"]])
    assert ran.returncode == 0 and page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--arms", "fuzz"], "expected arms among below_chance"),
        (["--budget", "soon"], "expected a duration such as 90s, 10m or 1.5h, got 'soon'"),
        (["--memory", "lots"], "expected an amount of memory such as 8GiB or 500M, got 'lots'"),
        (["--memory", "1K"], "expected a memory of at least"),
        (["--items", "2"], "expected at least 4 items"),
        (["--format", "song"], "expected --format to be one of letter"),
        (["--task", "nowhere.jsonl"], "Expected a task, got 'nowhere.jsonl'"),
        (["--dtype", "int3"], "expected a dtype of auto"),
        (["--reference", "./nowhere"], "expected a folder with a checkpoint"),
    ],
)
def test_user_errors_exit_1_without_a_traceback(place, change, message):
    ran = run(command(place, *change, out="errors"))
    assert ran.returncode == 1 and not ran.stdout
    said = " ".join(ran.stderr.split())
    assert said.startswith("Error:") and message in said and "Traceback" not in said


def test_a_malformed_task_stops_before_anything_is_written(place):
    bad = place / "bad.jsonl"
    bad.write_text('{"question": "x", "options": ["a", "b"], "answer": 7}\n')
    ran = run(command(place, "--task", str(bad), out="bad"))
    assert ran.returncode == 1 and "line 1, field 'answer'" in ran.stderr
    assert not (place / "bad").exists()


@pytest.mark.parametrize("arguments", [["audit"], ["audit", "x", "--fuzz"], ["sing"]])
def test_usage_errors_exit_2(arguments):
    ran = run([sys.executable, "-m", "unmask", *arguments])
    assert ran.returncode == 2 and "Traceback" not in ran.stderr


def test_reports_of_what_is_no_finished_run_exit_1(place, tmp_path):
    ran = run([sys.executable, "-m", "unmask", "report", str(tmp_path)])
    assert ran.returncode == 1 and "expected the folder of a run" in " ".join(ran.stderr.split())


def test_help_lists_the_commands():
    ran = run([sys.executable, "-m", "unmask", "--help"])
    assert ran.returncode == 0 and all(c in ran.stdout for c in ("audit", "demo", "report"))


def _wait_for_units(out: Path, n: int) -> None:
    for _ in range(600):
        files = list(out.glob("*/run.sqlite"))
        if files:
            try:
                connection = sqlite3.connect(files[0])
                found = connection.execute("SELECT COUNT(*) FROM unit").fetchone()[0]
                connection.close()
                if found >= n:
                    return
            except sqlite3.Error:
                pass
        time.sleep(0.02)
    raise AssertionError("the audit stored nothing")


def _start(place: Path, out: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(place, "--json", out=out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A runner that was started in the background ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _comparable(summary: dict) -> dict:
    arms = [{k: v for k, v in arm.items() if k != "seconds"} for arm in summary["arms"]]
    return {k: v for k, v in summary.items() if k not in {"seconds", "run"}} | {"arms": arms}


def test_ctrl_c_says_how_to_go_on(place, printed):
    process = _start(place, "stopped")
    _wait_for_units(place / "stopped", 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert "run the same command" in " ".join(said.split())
    (unfinished,) = (place / "stopped").iterdir()
    ran = run([sys.executable, "-m", "unmask", "report", str(unfinished)])
    assert ran.returncode == 1 and "interrupted" in " ".join(ran.stderr.split())
    ran = run(command(place, "--json", out="stopped"))
    assert ran.returncode == 0 and _comparable(json.loads(ran.stdout)) == _comparable(printed)


def test_a_killed_audit_goes_on_and_ends_the_same(place, printed):
    rng = random.Random(1)
    for stored in (1, 12):
        process = _start(place, "killed")
        _wait_for_units(place / "killed", stored)
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.communicate()
    ran = run(command(place, "--json", out="killed"))
    assert ran.returncode == 0 and _comparable(json.loads(ran.stdout)) == _comparable(printed)


def test_a_model_in_memory_gives_the_same_and_shows_itself(place, printed, tmp_path):
    result = unmask.audit(build("llama"), place / "task.jsonl", tokenizer=tokenizer(), out=tmp_path)
    assert result.verdict == printed["verdict"] and result.report.is_file()
    assert "<script" not in result._repr_html_() and result.sentence[:20] in result._repr_html_()
    with pytest.raises(SettingError, match="expected a tokenizer with a model passed in memory"):
        unmask.audit(build("llama"), place / "task.jsonl", out=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--member", "nobody"], "expected members among decoy|expected members among evaluation"),
        (["--member", "quirk", "--record"], "and all of them to be recorded, got quirk"),
    ],
)
def test_the_demo_knows_its_members(tmp_path, change, message):
    ran = run([sys.executable, "-m", "unmask", "demo", *change, "--out", str(tmp_path)])
    assert ran.returncode == 1 and re.search(message, ran.stderr) and "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_the_printed_table_fits_into_80_columns_and_says_what_was_not_run(place, printed):
    ran = run(command(place))
    lines = ran.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("arm "))
    table = lines[start : start + 1 + sum(arm["tested"] for arm in printed["arms"])]
    assert max(map(len, table)) <= 80
    for arm in printed["arms"]:
        shown = [line for line in lines if line.split(" ")[0].rstrip(":") == arm["name"]]
        assert len(shown) == 1 and ("not run; " in shown[0]) == (not arm["tested"])
