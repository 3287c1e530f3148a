"""Other libraries, each in an environment of its own, since their requirements conflict.

A peer's requirements are in NAME.txt, its way of doing the work in NAME_worker.py. Workers answer
one request a line (`unmask` is not installed where they run).
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

NAMES = ("nnsight", "transformer_lens", "pyvene", "repeng", "steering_vectors")
_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parent / ".envs"


class Reply(NamedTuple):
    """What a worker measured."""

    seconds: float
    """Of the library's own calls."""
    log_probs: list[list[float]]
    """For each vector, of each option."""


class Peer:
    """A worker process of one library."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        """Start the worker, and make its environment first if there is none.

        Args:
            name: One of `NAMES`.
            folder: Holds the checkpoint ``model`` and ``inputs.safetensors``.
            threads: Of torch.
        """
        self.name = name
        self._process = subprocess.Popen(
            [environment(name), _HERE / f"{name}_worker.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )
        self.version = str(self._answer()["version"])

    def run(self, positions: str, block: int) -> Reply | None:
        """Do the work once; None if the library cannot do it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"positions": positions, "block": block}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "unsupported" in answer:
            return None
        return Reply(answer["seconds"], answer["log_probs"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        while line and not line.startswith("{"):  # some libraries print when they are imported
            line = self._process.stdout.readline()
        if not line:
            errors = self._process.stderr.read().strip().splitlines()
            raise RuntimeError(f"the worker of {self.name} ended: " + "\n".join(errors[-8:]))
        return json.loads(line)

    def __enter__(self) -> Self:
        """Return the peer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def environment(name: str) -> Path:
    """Make a peer's environment if there is none; returns its Python."""
    folder = _ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / ".installed"
    requirements = _HERE / f"{name}.txt"
    if done.exists() and done.read_text() == requirements.read_text():
        return python
    print(f"installing {name} into {folder.relative_to(Path.cwd())}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    (_ENVIRONMENTS / ".gitignore").write_text("*\n")
    venv.create(folder, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", requirements], check=True, stdout=sys.stderr)
    done.write_text(requirements.read_text())
    return python
