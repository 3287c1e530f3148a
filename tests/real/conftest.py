"""The real chat model, and the tasks that benchmarks make of public data."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # so that tests can import `benchmarks.real`


@pytest.fixture(scope="session")
def folder() -> Path:
    path = ROOT / "build" / "smollm2-135m-instruct"
    if not (path / "config.json").is_file():
        pytest.skip("no SmolLM2-135M-Instruct under build/: run tools/get-smollm2")
    if not (ROOT.parent / "shared" / "data").is_dir():
        pytest.skip("no public data beside the repository")
    return path


@pytest.fixture(scope="session")
def chat(folder):
    from unmask.models.loading import load_subject

    return load_subject(folder, device="cpu")
