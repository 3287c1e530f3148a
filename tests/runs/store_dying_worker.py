"""Stores units without a pause and kills itself, at a given statement if told. Run as a script."""

import os
import signal
import sys
from pathlib import Path

from unmask.runs.store import RunStore


def main(folder: Path, n: int, statement: str) -> None:
    """Store `n` units; then die, at the next statement that begins with `statement` if given."""
    with RunStore.open(folder, {"n": n}) as store:
        for number in range(n):
            store.put(str(number), "stage", "arm", {"value": number / 7}, 0.001)

        def die(said: str) -> None:
            if said.startswith(statement):
                os.kill(os.getpid(), signal.SIGKILL)

        store._connection.set_trace_callback(die)
        store.put("last", "stage", "arm", {"value": 1.0}, 0.001)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
