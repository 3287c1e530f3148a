"""`unmask melbo`, `dct` and `plateau` as a user meets them, on a tiny checkpoint."""

import json
import subprocess
import sys

import pytest
import torch
from tiny import build, tokenizer

from unmask.cli.main import main
from unmask.steering import Directions


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    build("llama").save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    lines = [f"Is it <script>odd</script>, {i}" for i in range(8)]
    (folder / "prompts.txt").write_text("\n".join(lines))
    return folder


def run(place, command, *more, prompts=True):
    given = ["--prompts", str(place / "prompts.txt")] if prompts else []
    arguments = [command, str(place / "model"), *given, "--out", str(place / command), *more]
    return subprocess.run(
        [sys.executable, "-m", "unmask", *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def fail(place, monkeypatch, capsys):
    """Run a command that should fail in this process; returns what it said."""

    def call(command, *more, prompts=True):
        given = ["--prompts", str(place / "prompts.txt")] if prompts else []
        arguments = [command, str(place / "model"), *given, "--out", str(place / command), *more]
        monkeypatch.setattr(sys, "argv", ["unmask", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 1
        return " ".join(capsys.readouterr().err.split())

    return call


def test_melbo_writes_vectors_a_report_and_json(place):
    options = ("--vectors", "6", "--steps", "2", "--tokens", "4", "--json")
    ran = run(place, "melbo", *options)
    assert ran.returncode == 0, ran.stderr
    printed = json.loads(ran.stdout)
    folder = place / "melbo"
    assert printed == json.loads((folder / "search.json").read_text())
    found = Directions.load(folder / "directions.safetensors")
    assert found.vectors.shape[0] == 6 and found.layer == printed["source"]
    lengths = found.vectors.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((6,), printed["radius"]), rtol=1e-3, atol=0)
    assert printed["radius"] == pytest.approx(0.5 * printed["norm"])
    page = (folder / "report.html").read_text()
    assert "Melbo" in page and "<script>" not in page
    assert found.provenance["weights_hash"]


def test_dct_prints_a_table_without_model_text(place):
    ran = run(place, "dct", "--vectors", "4", "--steps", "2", "--radius", "0.3", "--tokens", "4")
    assert ran.returncode == 0, ran.stderr
    assert "change over random" in ran.stdout and "report" in ran.stdout
    assert "script" not in ran.stdout


def test_prompts_of_several_lines_come_from_json(place):
    (place / "prompts.json").write_text(json.dumps(["User: a\nBot:", "User: bb\nBot:"]))
    options = ("--prompts", str(place / "prompts.json"), "--vectors", "2", "--steps", "1")
    ran = run(place, "melbo", *options, "--tokens", "2", "--json", prompts=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["prompts"] == ["User: a\nBot:", "User: bb\nBot:"]


def test_plateau_measures_found_vectors_and_compares(place):
    run(place, "melbo", "--vectors", "6", "--steps", "1", "--tokens", "2")
    found = place / "melbo" / "directions.safetensors"
    options = ("--layers", "1", "--points", "9", "--directions", str(found), "--compare")
    ran = run(place, "plateau", *options)
    assert ran.returncode == 0, ran.stderr
    assert "rank correlation" in ran.stdout and "directions" in ran.stdout
    result = json.loads((place / "plateau" / "plateau.json").read_text())
    (layer,) = result["layers"]
    kinds = [kind["kind"] for kind in layer["kinds"]]
    assert kinds == ["others", "covariance", "isotropic", "directions"]
    assert len(layer["comparisons"]) == 3
    assert (place / "plateau" / "report.html").exists()


def test_found_vectors_are_exported(place):
    run(place, "melbo", "--vectors", "6", "--steps", "1", "--tokens", "2", "--layer", "2")
    found = str(place / "melbo" / "directions.safetensors")
    arguments = [sys.executable, "-m", "unmask", "export", found, "--vector", "1"]
    gguf, checkpoint = place / "control.gguf", place / "steered"
    more = ["--gguf", str(gguf), "--checkpoint", str(checkpoint), "--model", str(place / "model")]
    ran = subprocess.run([*arguments, *more], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(gguf), str(checkpoint)]
    assert gguf.exists() and (checkpoint / "model.safetensors").exists()
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1 and "expected --gguf FILE, or --checkpoint" in ran.stderr


def test_without_prompts_neutral_passages_are_read(place):
    ran = run(place, "plateau", "--layers", "1", "--points", "5", "--json", prompts=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["n_prompts"] > 4


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        ("melbo", ["--radius", "wide"], "expected --radius to be a number, plateau or dct"),
        ("melbo", ["--radius", "0"], "expected a radius above 0"),
        ("melbo", ["--vectors", "0"], "expected at least one vector"),
        ("melbo", ["--layer", "2", "--to", "1"], "expected 0 <= source < target <= 3"),
        ("melbo", ["--positions", "first"], "expected --positions to be one of all, prompt"),
        ("melbo", ["--within", "cube"], "expected --within to be one of l2, whitened, density"),
        ("dct", ["--kind", "cubic"], "expected --kind to be one of exponential"),
        ("dct", ["--vectors", "99"], "expected at most 32 factors"),
        ("plateau", ["--layers", "1,x"], "expected --layers to be whole numbers separated"),
        ("plateau", ["--layers", "9"], "expected 0 <= source < target <= 3"),
        ("plateau", ["--points", "2"], "expected at least 3 points"),
        ("plateau", ["--directions", "absent"], "expected a file of directions"),
        ("plateau", ["--prompt", "a"], "expected one of --task, --prompts and --prompt"),
    ],
)
def test_bad_options_are_clear_errors(fail, command, more, message):
    assert message in fail(command, *more)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, "expected a file of prompts"),
        ("a.txt", "\n \n", "got an empty file"),
        ("a.json", "{", "expected a file of prompts"),
        ("a.json", "[1]", "expected a list of texts"),
    ],
)
def test_bad_prompt_files_are_clear_errors(fail, name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert message in fail("melbo", "--prompts", str(path), prompts=False)


def test_too_few_prompts_for_curves_is_a_clear_error(fail):
    told = fail("plateau", "--prompt", "a", "--prompt", "b", prompts=False)
    assert "expected more than 4 prompts, got 2" in told
