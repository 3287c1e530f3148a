import errno
import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from unmask.errors import RunError
from unmask.runs.store import DATABASE, RunStore

HERE = Path(__file__).parent
PLAN = {"subject": {"id": "a", "layers": 2}, "seed": 0}


def start(script: str, *words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, words)], stdout=subprocess.PIPE
    )


def die(folder: Path, n: int, statement: str = "INSERT") -> None:
    process = start("store_dying_worker.py", folder, n, statement)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def read_keys(folder: Path) -> list[str]:
    with RunStore.read(folder) as store:
        return [unit.key for unit in store.units()]


def register(folder: Path, plan: dict) -> None:
    with RunStore.open(folder, plan):
        pass


def change(folder: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(folder / DATABASE)
    assert connection.execute(statement, values).rowcount == 1
    connection.commit()
    connection.close()


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
def test_killed_inside_a_transaction_only_that_unit_is_absent(tmp_path, statement):
    die(tmp_path, 5, statement)
    with RunStore.open(tmp_path, {"n": 5}) as store:
        assert [unit.key for unit in store.units()] == list("01234")
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.put("last", "stage", "arm", {"value": 1.0}, 0.001)
    assert read_keys(tmp_path) == [*"01234", "last"]


def test_fifteen_kills_at_random_moments_change_no_result(tmp_path):
    n, rng, kills = 300, random.Random(1), 0
    folder, side = tmp_path / "run", tmp_path / "side"
    for kills in range(16):
        process = start("store_worker.py", folder, side, n)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            process.wait(rng.random() * 0.03)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"run {kills} was not killed"
    for place in (folder, tmp_path / "whole"):
        process = start("store_worker.py", place, side if place == folder else tmp_path / "x", n)
        process.communicate()
        assert process.returncode == 0
    stored = []
    for place in (folder, tmp_path / "whole"):
        with RunStore.read(place) as store:
            stored.append(list(store.units()))
    assert stored[0] == stored[1] and len(stored[0]) == n
    computed = Counter(side.read_text().split())
    assert len(computed) == n and sum(computed.values()) <= n + 16


def test_a_run_is_read_while_another_process_writes(tmp_path):
    process = start("store_worker.py", tmp_path / "run", tmp_path / "side", 150)
    assert process.stdout is not None
    process.stdout.readline()
    lengths = []
    while process.poll() is None:
        keys = read_keys(tmp_path / "run")
        assert keys == [str(number) for number in range(len(keys))]  # a prefix, never a gap
        lengths.append(len(keys))
    process.communicate()
    assert process.returncode == 0 and lengths == sorted(lengths) and len(set(lengths)) > 3


def test_a_killed_run_in_a_folder_that_cannot_be_written_is_read_whole(tmp_path, monkeypatch):
    die(tmp_path, 400)
    log = tmp_path / f"{DATABASE}-wal"
    assert log.stat().st_size > 0
    # Control: sqlite told that nothing changes passes over the log, and with it over units.
    uri = f"{(tmp_path / DATABASE).as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    try:
        seen = connection.execute("SELECT COUNT(*) FROM unit").fetchone()[0]
    except sqlite3.OperationalError:
        seen = 0
    connection.close()
    assert seen < 400
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(read_keys(tmp_path)) == 400


READ_ONLY = """
import sys
from pathlib import Path
from unmask.errors import RunError
from unmask.runs.store import RunStore

with RunStore.read(Path(sys.argv[1])) as store:
    print(*(unit.key for unit in store.units()))
try:
    with RunStore.open(Path(sys.argv[1]), {"n": 5}):
        print("written")
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_run_on_a_read_only_file_system_is_read_and_not_written(tmp_path, killed):
    if killed:
        die(tmp_path, 5)
    else:
        with RunStore.open(tmp_path, {"n": 5}) as store:
            for key in "01234":
                store.put(key, "stage", "arm", {}, 1.0)
    # In a mount namespace of its own, so that no mount outlives the test.
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" || exit 77; exec "$@"'
    words = ["unshare", "-m", "sh", "-c", mount, tmp_path, sys.executable, "-c", READ_ONLY]
    try:
        done = subprocess.run([*words, tmp_path], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare command")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("mounting is not allowed here")
    keys, said = done.stdout.splitlines()
    assert keys.split() == list("01234"), done.stderr
    assert "Read-only file system. The folder cannot be written" in said


@pytest.mark.parametrize("kind", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_what_the_system_refuses_is_said(tmp_path, monkeypatch, kind):
    said = "disk is full" if kind == errno.ENOSPC else "folder cannot be written"

    def refuse(*_: object) -> int:
        raise OSError(kind, os.strerror(kind))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunError, match=f"{os.strerror(kind)}. The {said}"):
        register(tmp_path, PLAN)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match="The file system cannot lock files: use an --out"):
        register(tmp_path, PLAN)


def test_a_run_that_may_not_be_looked_at_is_said(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(RunError, match="Permission denied. The folder cannot be written"):
        read_keys(tmp_path)


def test_a_limit_on_file_sizes_is_said_and_loses_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from unmask.runs.store import RunStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "with RunStore.open(Path(sys.argv[1]), {}) as store:\n"
        "    for i in range(400): store.put(str(i), 's', 'a', {'t': 'x' * 3000}, 1.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "a limit on file sizes is reached" in done.stderr
    keys = read_keys(tmp_path)
    assert len(keys) > 3 and keys == [str(number) for number in range(len(keys))]
    with RunStore.open(tmp_path, {}) as store:
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_second_process_is_told_where_the_first_one_runs(tmp_path):
    process = start("store_worker.py", tmp_path / "run", tmp_path / "side", 150)
    assert process.stdout is not None
    process.stdout.readline()
    host = os.uname().nodename
    expected = rf"\(pid {process.pid}\) is working on the run .* \(on {host}, since 20.*Z\)"
    with pytest.raises(RunError, match=expected):
        with RunStore.open(tmp_path / "run", {"n": 150}, wait=False):
            pass
    process.kill()
    process.communicate()
    with RunStore.open(tmp_path / "run", {"n": 150}, wait=False):
        pass  # a killed process leaves no lock


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        (PLAN | {"subject": {"id": "a", "layers": 3}}, "subject.layers"),
        (PLAN | {"extra": None}, "extra"),
        ({"seed": 0}, "subject"),
        (PLAN | {name: 1 for name in "bcdefgh"}, "b, c, d, e, f and 2 more"),
    ],
)
def test_another_plan_names_what_differs(tmp_path, plan, names):
    register(tmp_path, PLAN)
    with pytest.raises(RunError, match=f"differs in: {names}. A registered plan"):
        register(tmp_path, plan)


def test_a_plan_with_numbers_as_names_opens_again(tmp_path):
    for _ in range(2):
        register(tmp_path, {"scales": {2: 0.1, 10: (0.2,)}})  # sorts otherwise once it is text


def test_a_database_without_a_plan_is_no_run(tmp_path):
    (tmp_path / DATABASE).touch()
    with pytest.raises(RunError, match="expected a run with a registered plan"):
        read_keys(tmp_path)
    register(tmp_path, PLAN)  # killed before its plan was stored, it starts as usual
    change(tmp_path, "DELETE FROM note WHERE name = 'plan'")
    with pytest.raises(RunError, match="expected a run with a registered plan"):
        read_keys(tmp_path)


def test_damage_is_said_and_not_called_safe(tmp_path):
    with RunStore.open(tmp_path, PLAN) as store:
        store.put("k", "s", "a", {"v": 1}, 1.0)
    change(tmp_path, "UPDATE unit SET payload = '{'")
    with RunStore.read(tmp_path) as store:
        with pytest.raises(RunError, match="got a record that is no JSON .* was damaged"):
            store.get("k")
    change(tmp_path, "UPDATE note SET value = ? WHERE name = 'plan'", json.dumps([1]))
    with pytest.raises(RunError, match="got a plan without its hash"):
        read_keys(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match="or delete the folder.$"):
        read_keys(tmp_path)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_time_that_is_not_finite_is_refused(tmp_path, seconds):
    with RunStore.open(tmp_path, PLAN) as store:
        with pytest.raises(RunError, match="expected finite numbers to store"):
            store.put("k", "s", "a", {}, seconds)
        assert store.get("k") is None
