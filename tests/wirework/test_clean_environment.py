"""wirework alone: numpy, opt_einsum and networkx are all that it needs."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAWS = """
import sys, wirework
diagram = wirework.parse("i: softmax(i){i: A[i j] x[j]}[i]")
assert wirework.draw(diagram).startswith("<svg") and diagram._repr_svg_().startswith("<svg")
assert wirework.to_tikz(wirework.lay_out(diagram)).startswith("\\\\begin{tikzpicture}")
try:
    wirework.to_png(wirework.lay_out(diagram))
except wirework.WireworkError as error:
    assert "pip install 'unmask[draw]'" in str(error)
else:
    raise AssertionError("matplotlib is not there")
assert "torch" not in sys.modules
"""


def test_importing_wirework_loads_nothing_heavy():
    heavy = ("torch", "transformers", "matplotlib", "scipy", "unmask")
    said = f"import sys, wirework, wirework.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_wirework_draws_where_nothing_else_is_installed(tmp_path):
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    needs = ["numpy", "opt_einsum", "networkx"]
    constraints = ["-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, *constraints, *needs], check=True, timeout=300)
    subprocess.run([*pip, "--no-deps", ROOT], check=True, timeout=300)
    done = subprocess.run([python, "-c", DRAWS], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "figure.txt").write_text("i: A[i j] x[j]\n")
    command = [tmp_path / "bin" / "wirework", "render", "figure.txt", "-o", "figure.svg"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "figure.svg").read_text().startswith("<svg")
