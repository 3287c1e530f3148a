import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.errors import RunError
from unmask.runs.store import DATABASE, RunStore

WORKER = Path(__file__).with_name("store_worker.py")
PLAN = {"subject": "a", "seed": 0}


def work(folder: Path, side: Path, n: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), str(side), str(n)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_killed_run_loses_nothing_and_computes_nothing_twice(tmp_path):
    n, rng, kills = 400, random.Random(0), 0
    folder, side = tmp_path / "run", tmp_path / "side"
    for _ in range(60):
        process = work(folder, side, n)
        assert process.stdout is not None
        process.stdout.readline()  # wait until it works
        try:
            process.wait(rng.random() * 0.12)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if process.returncode == 0:
            break
    assert process.returncode == 0 and kills >= 5
    with RunStore.read(folder) as store:
        stored = {unit.key: unit.payload["value"] for unit in store.units()}
    assert stored == {str(number): number / 7 for number in range(n)}
    computed = Counter(side.read_text().split())
    # A kill may fall between a computation and its storing, and there only.
    assert set(computed) == set(stored) and sum(computed.values()) <= n + kills


def test_a_second_process_waits_and_says_for_whom(tmp_path):
    process = work(tmp_path / "run", tmp_path / "side", 200)
    assert process.stdout is not None
    process.stdout.readline()
    pid = process.pid
    with pytest.raises(RunError, match=rf"another process \(pid {pid}\) is working on the run"):
        with RunStore.open(tmp_path / "run", {"n": 200}, wait=False):
            pass
    with RunStore.read(tmp_path / "run") as reader:  # reading is never in the way
        assert reader.noted("plan")["plan"] == {"n": 200}
    told: list[str] = []
    with RunStore.open(tmp_path / "run", {"n": 200}, on_wait=told.append) as store:
        assert process.wait(5) == 0 and len(list(store.units())) == 200
    process.communicate()
    assert len(told) == 1 and f"pid {pid}" in told[0]


def test_another_plan_does_not_open_the_run(tmp_path):
    with RunStore.open(tmp_path, PLAN):
        pass
    with RunStore.open(tmp_path, PLAN) as store:
        assert [event for _, event, _ in store.events()] == ["registered"]
    with pytest.raises(RunError, match="another one .* that differs in: seed. A registered plan"):
        with RunStore.open(tmp_path, PLAN | {"seed": 1}):
            pass


def test_a_plan_changed_after_its_registration_shows(tmp_path):
    with RunStore.open(tmp_path, PLAN):
        pass
    connection = sqlite3.connect(tmp_path / DATABASE)
    (text,) = connection.execute("SELECT value FROM note WHERE name = 'plan'").fetchone()
    record = json.loads(text)
    record["plan"]["seed"] = 1
    connection.execute("UPDATE note SET value = ? WHERE name = 'plan'", (json.dumps(record),))
    connection.commit()
    connection.close()
    for plan in (PLAN, PLAN | {"seed": 1}):
        with pytest.raises(RunError, match="was changed after its registration"):
            with RunStore.open(tmp_path, plan):
                pass
    with pytest.raises(RunError, match="was changed after its registration"):
        with RunStore.read(tmp_path):
            pass


def test_units_and_notes_are_written_once(tmp_path):
    with RunStore.open(tmp_path, PLAN) as store:
        for _ in range(2):
            store.put("k", "stage", "arm", {"score": 0.1}, 1.5)
            store.note("cut", [1, 2])
        with pytest.raises(RunError, match="expected the unit k of arm to come out as before"):
            store.put("k", "stage", "arm", {"score": 0.2}, 1.0)
        with pytest.raises(RunError, match="expected the run's record 'cut' to stay as it was"):
            store.note("cut", [1])
        assert store.get("k") == {"score": 0.1} and store.seconds_spent() == 1.5
        with pytest.raises(RunError, match="expected finite numbers to store"):
            store.put("n", "stage", "arm", {"score": float("nan")}, 1.0)
        assert store.get("n") is None and store.noted("missing") is None
        store.put("l", "other", "arm", {}, 1.0)
        assert [unit.key for unit in store.units()] == ["k", "l"]
        assert [unit.key for unit in store.units(stage="other")] == ["l"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_keep_their_bits(tmp_path_factory, values):
    with RunStore.open(tmp_path_factory.mktemp("run"), PLAN) as store:
        store.put("k", "s", "a", {"values": values}, 0.0)
        kept = store.get("k")["values"]
    assert [value.hex() for value in kept] == [value.hex() for value in values]


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    with RunStore.open(tmp_path, PLAN) as store:
        store.put("first", "s", "a", {"text": "x" * 1000}, 1.0)
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(RunError, match="is full. The disk is full: free some space"):
            for number in range(50):
                store.put(str(number), "s", "a", {"text": "y" * 5000}, 1.0)
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.get("first") is not None
    with RunStore.open(tmp_path, PLAN) as store:
        store.put("after", "s", "a", {}, 1.0)  # with room again, the run goes on
        assert {"first", "after"} <= {unit.key for unit in store.units()}


def test_a_database_that_cannot_be_written_is_said(tmp_path):
    with RunStore.open(tmp_path, PLAN) as store:
        store._connection.execute("PRAGMA query_only=1")
        with pytest.raises(RunError, match="The folder cannot be written: change its permissions"):
            store.put("k", "s", "a", {}, 1.0)


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(RunError, match="expected the folder of a run"):
        with RunStore.read(tmp_path / "nothing"):
            pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="A file stands where a folder is needed"):
        with RunStore.open(tmp_path / "file", PLAN):
            pass
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match="The database was damaged from outside"):
        with RunStore.open(tmp_path / "bad", PLAN):
            pass


def test_another_schema_is_said(tmp_path):
    with RunStore.open(tmp_path, PLAN) as store:
        store._connection.execute("PRAGMA user_version=99")
    with pytest.raises(RunError, match="expected a run of schema 1 .* got schema 99"):
        with RunStore.read(tmp_path):
            time.sleep(0)
