"""The command line: what it writes, what it refuses, and that it leaves nothing half done."""

import importlib.metadata
import io
import subprocess
import sys

import pytest

from wirework import cli
from wirework.cli import main

TWO = "figure product\ni k: A[i j] B[j k]\n: x[i] A[i j] x[j] - 2\n"
ONE = "i k: A[i j] B[j k]\n"


@pytest.fixture
def one(tmp_path):
    file = tmp_path / "one.txt"
    file.write_text(ONE)
    return file


@pytest.fixture
def two(tmp_path):
    file = tmp_path / "two.txt"
    file.write_text(TWO)
    return file


def ran(*arguments) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_the_format_is_what_the_file_ends_in(one, tmp_path):
    for suffix, start in {
        "svg": b"<svg",
        "tex": b"\\begin{tikzpicture}",
        "png": b"\x89PNG",
        "PDF": b"%PDF",
    }.items():
        out = tmp_path / f"out.{suffix}"
        assert ran("render", one, "-o", out) == 0
        assert out.read_bytes().startswith(start)
    assert ran("render", one, "-o", tmp_path / "x.tex", "--standalone") == 0
    assert (tmp_path / "x.tex").read_text().startswith("\\documentclass")
    assert ran("render", one, "-o", tmp_path / "odd.txt", "--format", "png") == 0
    assert (tmp_path / "odd.txt").read_bytes().startswith(b"\x89PNG")


def test_svg_and_tikz_go_to_standard_output(one, capfdbinary, monkeypatch):
    assert ran("render", one) == 0
    assert capfdbinary.readouterr().out.startswith(b"<svg")
    assert ran("render", one, "--format", "tikz") == 0
    assert capfdbinary.readouterr().out.startswith(b"\\begin{tikzpicture}")
    monkeypatch.setattr(sys, "stdin", io.StringIO(ONE))
    assert ran("render", "-") == 0
    assert b"<title>i k: A[i j] B[j k]</title>" in capfdbinary.readouterr().out


def test_of_several_figures_each_has_its_file(two, tmp_path):
    assert ran("render", two, "-o", tmp_path / "out.svg") == 0
    assert {file.name for file in tmp_path.glob("*.svg")} == {"out-product.svg", "out-2.svg"}
    assert ran("render", two, "-o", tmp_path / "single.svg", "--figure", "2") == 0
    assert (tmp_path / "single.svg").read_bytes() == (tmp_path / "out-2.svg").read_bytes()


def test_code_is_printed_with_its_cost(two, capsys):
    assert ran("code", two) == 0
    assert capsys.readouterr().out == (
        "# i k: A[i j] B[j k]\n"
        "contract('ab,bc->ac', A, B)\n"
        "# : x[i] A[i j] x[j] - 2\n"
        "+1 * contract('a,ab,b->', x, A, x)\n"
        "-2\n"
    )
    assert ran("code", two, "--figure", "product", "--cost", "i=2,j=3,k=4") == 0
    assert "contract('ab,bc->ac', A, B)  # 48 FLOPs, largest array 8" in capsys.readouterr().out


def test_code_that_is_printed_runs(two, capsys):
    import numpy as np
    from opt_einsum import contract

    assert ran("code", two) == 0
    x, A = np.arange(2.0), np.eye(2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line[0] in "+-"]
    assert eval("".join(lines), {"contract": contract, "x": x, "A": A}) == -1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "TWO"], "one figure as SVG or TikZ on standard output, got 2 figures.*-o"),
        (["render", "ONE", "--format", "png"], "got PNG, which is binary"),
        (["render", "ONE", "-o", "DIR/a.gif"], "ends in .svg, .*got '.*a.gif'.*--format"),
        (["render", "ONE", "-o", "DIR/none/a.svg"], "to write .*a.svg, got: No such file"),
        (["render", "ONE", "-o", "DIR", "--format", "svg"], "to write .*, got: Is a directory"),
        (["render", "DIR/none.txt"], "a file at .*none.txt, got: No such file"),
        (["render", "TWO", "--figure", "x"], "figure named 'x' in .*, got: product, 2"),
        (["code", "ONE", "--cost", "i=2"], "line 1: expected a size for dimension 'j' of A.*j=64"),
        (["code", "BOX"], "line 1: expected tensors and copies only, got a function"),
        (["render", "BAD"], "BAD.txt, line 2: expected tensors as NAME"),
    ],
)
def test_refusals_are_told_without_a_traceback(arguments, message, one, two, tmp_path, capfd):
    (tmp_path / "BOX.txt").write_text("i: exp(){i: x[i]}[i]")
    (tmp_path / "BAD.txt").write_text("i: x[i]\ni: A(i)\n")
    places = {"ONE": one, "TWO": two, "DIR": tmp_path}
    places |= {name: tmp_path / f"{name}.txt" for name in ("BOX", "BAD")}
    known = [
        str(places[first]) + word[len(first) :]
        if (first := word.partition("/")[0]) in places
        else word
        for word in arguments
    ]
    code = ran(*known)
    assert isinstance(code, str) and code.startswith("Error: expected") or "line" in str(code)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(code)
    assert not capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["render"], "FILE"),
        (["render", "a", "--format", "gif"], "invalid choice: 'gif'"),
        (["code", "a", "--cost", "d"], "sizes as DIM=SIZE,..., got 'd'. Write d=64,head=8"),
        (["code", "a", "--cost", "d=0"], "got 'd=0'"),
    ],
)
def test_wrong_usage_is_code_2(arguments, message, capsys):
    assert ran(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_is_replaced_whole_or_not_at_all(one, two, tmp_path, monkeypatch):
    out = tmp_path / "out.svg"
    out.write_text("before")
    (tmp_path / "bad.txt").write_text("i: x[i]\npin x 0 0\ni: A(i)")
    assert "line 3" in str(ran("render", tmp_path / "bad.txt", "-o", out))
    assert out.read_text() == "before"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cli.Path, "replace", full)
        assert "No space left" in str(ran("render", one, "-o", out))
    assert out.read_text() == "before"
    assert not list(tmp_path.glob(".wirework-*"))
    assert ran("render", one, "-o", out) == 0
    assert out.read_text().startswith("<svg")
    assert out.stat().st_mode & 0o777 == one.stat().st_mode & 0o777


def test_input_that_is_no_text_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    assert "text on standard input, got bytes that are none" in str(ran("render", "-"))


def test_the_module_runs_as_the_command_does(one):
    command = [sys.executable, "-m", "wirework", "render"]
    done = subprocess.run([*command, str(one)], capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(b"<svg")
    failed = subprocess.run([*command, "none.txt"], capture_output=True, timeout=60, text=True)
    assert failed.returncode == 1 and failed.stderr.startswith("Error: expected a file at none")
    assert "Traceback" not in failed.stderr


def test_the_command_is_declared():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="wirework")
    assert not scripts or {one.value for one in scripts} == {"wirework.cli:main"}
