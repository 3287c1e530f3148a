"""Stores numbered units, slowly; notes each computation in a side file. Run as a script."""

import os
import random
import sys
import time
from pathlib import Path

from unmask.runs.store import RunStore


def main(folder: Path, side: Path, n: int) -> None:
    rng = random.Random(os.getpid())
    with RunStore.open(folder, {"n": n}) as store:
        print("open", flush=True)
        for number in range(n):
            if store.get(str(number)) is None:
                time.sleep(rng.random() * 0.004)
                descriptor = os.open(side, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{number}\n".encode())
                os.close(descriptor)
                store.put(str(number), "stage", "arm", {"value": number / 7}, 0.001)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
