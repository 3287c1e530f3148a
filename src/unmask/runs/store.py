"""One audit on disk: a folder with `run.sqlite`, which holds everything that was measured.

Every unit of work is one transaction, keyed by the hash of everything that determines it, so a
killed audit continues and recomputes nothing that was stored. The plan is written, with its hash,
before anything else; a run whose plan was changed afterwards does not open.

The database is in WAL mode with ``synchronous=NORMAL``: a process killed at any moment loses no
committed unit; a power cut can lose the last few and leaves the database valid.
"""

import fcntl
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unmask.errors import NotFiniteError, RunError
from unmask.hashing import digest

SCHEMA_VERSION = 1
DATABASE = "run.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS unit (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, arm TEXT NOT NULL,
    payload TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (at REAL NOT NULL, event TEXT NOT NULL, fields TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Unit:
    """One stored unit of work."""

    key: str
    stage: str
    arm: str
    payload: dict[str, Any]
    seconds: float


class RunStore:
    """One audit on disk. Open it with `open` or `read`; both are contexts."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        """Wrap an open database."""
        self.folder = folder
        self._connection = connection

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        plan: Mapping[str, Any],
        *,
        wait: bool = True,
        on_wait: Callable[[str], None] | None = None,
    ) -> Iterator["RunStore"]:
        """Open a run for writing, and register its plan if it is new.

        Args:
            folder: The run's folder; made if it is not there.
            plan: Plain values; the same at every opening.
            wait: Whether to wait while another process works on the run.
            on_wait: Told once whom it waits for.

        Raises:
            RunError: If the folder cannot be written, another process holds the run and `wait` is
                False, or the stored plan is another one or was changed.
        """
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, wait, on_wait), _connected(folder, read_only=False) as connection:
            store = cls(folder, connection)
            with _explained(folder):
                connection.executescript(_TABLES)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            store._register(plan)
            yield store

    @classmethod
    @contextmanager
    def read(cls, folder: Path) -> Iterator["RunStore"]:
        """Open a run for reading only, also while another process writes.

        Raises:
            RunError: If the folder holds no run, or the plan was changed after its registration.
        """
        with _explained(folder):
            there = (folder / DATABASE).exists()
        if not there:
            raise RunError(
                f"expected the folder of a run (with a {DATABASE}), got {str(folder)!r}. The path "
                "of a run is printed at the end of its audit."
            )
        with _connected(folder, read_only=True) as connection:
            store = cls(folder, connection)
            if store._registered() is None:
                raise RunError(_unregistered(folder))
            yield store

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the payload stored under a key, or None."""
        found = self._query("SELECT payload FROM unit WHERE key = ?", key)
        return self._load(found[0][0]) if found else None

    def put(
        self, key: str, stage: str, arm: str, payload: Mapping[str, Any], seconds: float
    ) -> None:
        """Store a unit, for good once this returns. Storing the same again does nothing.

        Raises:
            RunError: If another payload is stored under the key, a value is not finite, or the
                database cannot be written.
        """
        text = _dump(payload)
        _dump(seconds)  # must be finite as well
        stored = self._query("SELECT payload FROM unit WHERE key = ?", key)
        if stored:
            if stored[0][0] != text:
                raise RunError(
                    f"expected the unit {key} of {arm or 'the baseline'} to come out as before, "
                    "got another result. Something that determines it is not part of its key; "
                    "please report this, and start afresh with another --out."
                )
            return
        self._execute("INSERT INTO unit VALUES (?, ?, ?, ?, ?)", key, stage, arm, text, seconds)

    def units(self, stage: str | None = None, arm: str | None = None) -> Iterator[Unit]:
        """Yield stored units in the order in which they were stored."""
        query = "SELECT key, stage, arm, payload, seconds FROM unit WHERE 1"
        values = []
        for column, value in (("stage", stage), ("arm", arm)):
            if value is not None:
                query += f" AND {column} = ?"
                values.append(value)
        for key, unit_stage, unit_arm, payload, seconds in self._query(
            query + " ORDER BY rowid", *values
        ):
            yield Unit(key, unit_stage, unit_arm, self._load(payload), seconds)

    def seconds_spent(self) -> float:
        """Time that the stored units took, over all sessions."""
        return float(self._query("SELECT TOTAL(seconds) FROM unit")[0][0])

    def note(self, name: str, value: Any) -> None:
        """Write a record once and for all; the same value again does nothing.

        Raises:
            RunError: If another value is stored under the name.
        """
        text, stored = _dump(value), self._query("SELECT value FROM note WHERE name = ?", name)
        if not stored:
            self._execute("INSERT INTO note VALUES (?, ?)", name, text)
        elif stored[0][0] != text:
            raise RunError(
                f"expected the run's record {name!r} to stay as it was, got another value. "
                "Two versions of unmask may have worked on this run; use another --out."
            )

    def noted(self, name: str) -> Any | None:
        """Return a record, or None if it was not written."""
        found = self._query("SELECT value FROM note WHERE name = ?", name)
        return self._load(found[0][0]) if found else None

    def log(self, event: str, **fields: Any) -> None:
        """Append an event with the time of day."""
        self._execute("INSERT INTO event VALUES (?, ?, ?)", time.time(), event, _dump(fields))

    def events(self) -> list[tuple[float, str, dict[str, Any]]]:
        """Return all events: seconds since 1970, name, fields."""
        rows = self._query("SELECT at, event, fields FROM event ORDER BY rowid")
        return [(at, event, self._load(fields)) for at, event, fields in rows]

    def _register(self, plan: Mapping[str, Any]) -> None:
        plan = json.loads(_dump(plan))  # as it will be read: names are strings, lists no tuples
        registered = self._registered()
        if registered is None:
            record = {"plan": plan, "hash": digest(plan), "unmask": version("unmask")}
            self._execute("INSERT INTO note VALUES (?, ?)", "plan", _dump(record))
            self.log("registered", hash=digest(plan))
            return
        if registered["hash"] != digest(plan):
            differing = list(_differing(registered["plan"], plan))
            more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise RunError(
                f"expected the plan that was registered in {str(self.folder)!r} (hash "
                f"{registered['hash']}), got another one (hash {digest(plan)}) that differs in: "
                f"{', '.join(differing[:5])}{more}. A registered plan cannot be changed; use "
                "another --out, or delete the folder to start afresh."
            )

    def _registered(self) -> dict[str, Any] | None:
        record = self.noted("plan")
        if record is not None and not (isinstance(record, dict) and {"plan", "hash"} <= {*record}):
            raise RunError(_damaged(self.folder, "a plan without its hash"))
        if record is not None and digest(record["plan"]) != record["hash"]:
            raise RunError(
                f"expected the plan in {str(self.folder)!r} to have its registered hash "
                f"{record['hash']}, got {digest(record['plan'])}. The plan was changed after its "
                "registration, so the run proves nothing; delete the folder and run it again."
            )
        return record

    def _load(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise RunError(_damaged(self.folder, f"a record that is no JSON ({error})")) from error

    def _query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with _explained(self.folder):
            return self._connection.execute(query, values).fetchall()

    def _execute(self, statement: str, *values: Any) -> None:
        with _explained(self.folder), self._connection:
            self._connection.execute(statement, values)


def _dump(value: Any) -> str:
    """Write plain values as JSON; floats keep their bits."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise NotFiniteError(
            f"expected finite numbers to store, got {error}. An edited model probably returned "
            "NaN; use a wider dtype (--dtype float32) or smaller scales."
        ) from error


def _differing(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted names under which two plans, as read from JSON, differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if _dump(old) != _dump(new):
            yield path
        return
    for name in sorted({*old, *new}):
        inner = f"{path}.{name}" if path else name
        if name in old and name in new:
            yield from _differing(old[name], new[name], inner)
        else:
            yield inner


def _damaged(folder: Path, got: str) -> str:
    return (
        f"expected records that unmask wrote in {str(folder)!r}, got {got}. "
        f"{_advice('not a database')}"
    )


def _unregistered(folder: Path) -> str:
    return (
        f"expected a run with a registered plan in {str(folder)!r}, got a {DATABASE} without one. "
        "Its audit was stopped before it began, or the file is another program's; start the audit "
        "again, or give another folder."
    )


@contextmanager
def _connected(folder: Path, read_only: bool) -> Iterator[sqlite3.Connection]:
    file = folder / DATABASE
    with _explained(folder):
        uri = f"{file.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        log = file.with_name(f"{DATABASE}-wal")
        logged = log.exists() and log.stat().st_size > 0
        if read_only and not logged and not os.access(folder, os.W_OK):
            # Else sqlite wants to make its shared-memory file there. Never with a log, which a
            # running or killed audit leaves: `immutable` passes over the units in it.
            uri += "&immutable=1"
        connection = sqlite3.connect(uri, uri=True, timeout=10)
    try:
        with _explained(folder):
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if read_only and found == 0:
                raise RunError(_unregistered(folder))
            if found not in ({SCHEMA_VERSION} if read_only else {0, SCHEMA_VERSION}):
                raise RunError(
                    f"expected a run of schema {SCHEMA_VERSION} in {str(folder)!r}, got schema "
                    f"{found}. It was written by another version of unmask; use that version, or "
                    "another --out."
                )
            if not read_only:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
        yield connection
    finally:
        connection.close()


@contextmanager
def _locked(folder: Path, wait: bool, on_wait: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the run's lock. The kernel releases it when the process ends, however it ends."""
    with _explained(folder):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            with _explained(folder, passing=BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid, place = _holder(descriptor)
            message = f"another process (pid {pid}) is working on the run {str(folder)!r}{place}"
            if not wait:
                raise RunError(
                    f"expected to be alone on the run, but {message}. Wait until it has finished; "
                    "the same command then continues from there."
                ) from error
            if on_wait is not None:
                on_wait(f"Waiting: {message}.")
            with _explained(folder):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        with _explained(folder):
            os.ftruncate(descriptor, 0)
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()} {since}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> tuple[str, str]:
    """Who holds the lock: process, and where and since when if it says so."""
    words = os.pread(descriptor, 400, 0).decode(errors="replace").split()
    if len(words) != 3:
        return (words[0] if words else "unknown"), ""
    return words[0], f" (on {words[1]}, since {words[2]})"


@contextmanager
def _explained(folder: Path, passing: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what sqlite and the system say into what the user can do."""
    try:
        yield
    except passing:
        raise
    except (sqlite3.Error, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            text = error.strerror
        raise RunError(
            f"expected to read and write the run in {str(folder)!r}, got: {text}. {_advice(text)}"
        ) from error


_SAFE = "What was stored before is safe, and the same command continues from there."


def _advice(text: str) -> str:
    said = text.lower()
    if "not a database" in said or "malformed" in said:
        return "The database was damaged from outside: restore it, or delete the folder."
    if "is a directory" in said or "not a directory" in said or "exists" in said:
        return "A file stands where a folder is needed, or the reverse: use another --out."
    if any(word in said for word in ("full", "no space", "quota")):
        return f"The disk is full: free some space, or move the run. {_SAFE}"
    if "too large" in said or "i/o error" in said:
        return f"The disk fails, or a limit on file sizes is reached; use another disk. {_SAFE}"
    if any(word in said for word in ("readonly", "read-only", "permission", "unable to open")):
        return (
            "The folder cannot be written: change its permissions, or use another --out; to read "
            f"a run there, copy its folder to a place that can be written. {_SAFE}"
        )
    if "no locks" in said or "not supported" in said:
        return "The file system cannot lock files: use an --out on a local disk."
    return f"Check the disk and the folder, or use another --out. {_SAFE}"
