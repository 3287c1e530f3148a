"""`unmask melbo`, `dct` and `plateau`: latent behaviours, and how far activations can be moved."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from unmask.errors import SettingError

Model = Annotated[str, typer.Argument(help="A folder, a hub id, or pool:NAME.")]
TaskName = Annotated[
    str | None, typer.Option(help="Its questions are the prompts: a file, cloze:CORPUS, pool:NAME.")
]
PromptFile = Annotated[
    Path | None,
    typer.Option(help="A file with a prompt a line, or a .json list of them."),
]
Prompt = Annotated[
    list[str] | None, typer.Option(help="A prompt, instead of a task; may be given several times.")
]
Layer = Annotated[
    int | None, typer.Option(help="Block whose input is changed; by default a quarter down.")
]
To = Annotated[
    int | None, typer.Option(help="Block at whose input the change is read; by default 3/4 down.")
]
Radius = Annotated[
    str,
    typer.Option(help="Length of the vectors in norms of the stream, or plateau, or dct."),
]
Positions = Annotated[
    str, typer.Option(help="Tokens to which vectors are added: all, prompt, last or answer.")
]
Within = Annotated[str, typer.Option(help="What bounds the vectors: l2, whitened or density.")]
Tokens = Annotated[int, typer.Option(help="Length of the continuations that are shown.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, or a torch device.")]
Seed = Annotated[int, typer.Option(help="Of starting points and random directions.")]
Out = Annotated[Path, typer.Option(help="Folder for the report and the vectors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def melbo(
    model: Model,
    task: TaskName = None,
    prompts: PromptFile = None,
    prompt: Prompt = None,
    layer: Layer = None,
    to: To = None,
    radius: Radius = "0.5",
    vectors: Annotated[int, typer.Option(help="How many vectors.")] = 32,
    steps: Annotated[int, typer.Option(help="Steps of Adam.")] = 25,
    positions: Positions = "all",
    within: Within = "l2",
    tokens: Tokens = 48,
    seed: Seed = 0,
    out: Out = Path("runs/melbo"),
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Search for steering vectors that change a later block most (MELBO), and show what they do."""
    from unmask.steering import Melbo

    method = Melbo(n_vectors=vectors, n_steps=steps, seed=seed)
    given = (task, prompts, prompt)
    where = (layer, to, radius, positions, within)
    _search(model, method, given, where, tokens, out, (dtype, device), as_json)


def dct(
    model: Model,
    task: TaskName = None,
    prompts: PromptFile = None,
    prompt: Prompt = None,
    layer: Layer = None,
    to: To = None,
    radius: Radius = "dct",
    vectors: Annotated[int, typer.Option(help="How many factors.")] = 32,
    steps: Annotated[int, typer.Option(help="Iterations.")] = 10,
    kind: Annotated[str, typer.Option(help="exponential, quadratic or linear.")] = "exponential",
    positions: Positions = "all",
    within: Within = "l2",
    tokens: Tokens = 48,
    seed: Seed = 0,
    out: Out = Path("runs/dct"),
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Factor what some blocks do into directions (DCT), and show what these do."""
    from unmask.steering import Dct

    _one_of("--kind", kind, ("exponential", "quadratic", "linear"))
    method = Dct(kind, vectors, steps, seed=seed)  # type: ignore[arg-type]  # checked above
    given = (task, prompts, prompt)
    where = (layer, to, radius, positions, within)
    _search(model, method, given, where, tokens, out, (dtype, device), as_json)


def plateau(
    model: Model,
    task: TaskName = None,
    prompts: PromptFile = None,
    prompt: Prompt = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Blocks whose input is moved, separated by commas; by default three."),
    ] = None,
    directions: Annotated[
        Path | None,
        typer.Option(help="A file of `unmask melbo` or `unmask dct`, whose vectors are a kind."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(help="Compare the gradient at zero with vectors of finite length, too."),
    ] = False,
    points: Annotated[int, typer.Option(help="Points of a curve.")] = 41,
    seed: Seed = 0,
    out: Out = Path("runs/plateau"),
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure how far activations can be moved before the output changes."""
    from unmask.reports import render_plateau, write_text_atomically
    from unmask.runs import plateaus
    from unmask.steering import Directions

    numbers = None if layers is None else [_whole("--layers", one) for one in layers.split(",")]
    kinds = {} if directions is None else {directions.stem: Directions.load(directions).vectors}
    subject, rows = _prepare(model, (task, prompts, prompt), (dtype, device))
    result = plateaus.plateau(
        subject,
        rows,
        layers=numbers,
        directions=kinds,
        compared=(0.25, 0.5, 1.0) if compare else (),
        n_alphas=points,
        seed=seed,
    )
    out.mkdir(parents=True, exist_ok=True)
    result.save(out / "plateau.json")
    write_text_atomically(out / "report.html", render_plateau(result))
    if as_json:
        print(json.dumps(asdict(result), indent=1))
        return
    console = Console(highlight=False, markup=False)
    console.print(_plateaus(result))
    if compare:
        console.print(_comparisons(result))
    console.print(f"report  {out / 'report.html'}", soft_wrap=True)


def export(
    directions: Annotated[Path, typer.Argument(help="A file of `unmask melbo` or `unmask dct`.")],
    vector: Annotated[int, typer.Option(help="Number of the vector, as in the report.")],
    gguf: Annotated[
        Path | None, typer.Option(help="Write a control vector for llama.cpp to this file.")
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="llama.cpp's name of the model's architecture.")
    ] = "llama",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Write a checkpoint that is steered by a bias to this folder."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, for --checkpoint: a folder, a hub id, pool:NAME.")
    ] = None,
    dtype: Dtype = "auto",
) -> None:
    """Export a steering vector to llama.cpp, or as a checkpoint that transformers runs steered."""
    from unmask.steering import Directions, export_biased, export_gguf

    if gguf is None and (checkpoint is None or model is None):
        raise SettingError(
            "expected --gguf FILE, or --checkpoint FOLDER with --model MODEL, got neither. Choose "
            "what to write."
        )
    found = Directions.load(directions)
    if gguf is not None:
        export_gguf(found, vector, gguf, architecture)
        print(gguf)
    if checkpoint is not None and model is not None:
        from unmask.api import as_subject

        export_biased(as_subject(model, dtype=dtype), found, vector, checkpoint)
        print(checkpoint)


def _search(
    model: str,
    method: Any,
    given: tuple[str | None, Path | None, list[str] | None],
    where: tuple[int | None, int | None, str, str, str],
    tokens: int,
    out: Path,
    options: tuple[str, str],
    as_json: bool,
) -> None:
    from unmask.reports import render_search, write_text_atomically
    from unmask.runs import search

    layer, to, radius, positions, within = where
    _one_of("--positions", positions, ("all", "prompt", "last", "answer"))
    _one_of("--within", within, ("l2", "whitened", "density"))
    length: Any = radius if radius in {"plateau", "dct"} else _number("--radius", radius)
    subject, rows = _prepare(model, given, options)
    result = search.search(
        subject,
        rows,
        method,
        source=layer,
        target=to,
        radius=length,
        positions=positions,  # type: ignore[arg-type]  # checked above
        within=within,  # type: ignore[arg-type]  # checked above
        max_new_tokens=tokens,
        out=out,
    )
    result.save(out / "search.json")
    write_text_atomically(out / "report.html", render_search(result))
    if as_json:
        print(json.dumps(asdict(result), indent=1))
        return
    console = Console(highlight=False, markup=False)
    console.print(_found(result))
    for name, value in result.radii.items():
        text = value if isinstance(value, str) else f"{value:.3g}, {value / result.norm:.2f} norms"
        console.print(f"radius by the {name} rule: {text}")
    console.print(f"vectors {out / result.file}", soft_wrap=True)
    console.print(f"report  {out / 'report.html'}", soft_wrap=True)


def _prepare(
    model: str,
    given: tuple[str | None, Path | None, list[str] | None],
    options: tuple[str, str],
) -> Any:
    """Load the prompts first, since a malformed file should stop before any loading."""
    from unmask.api import as_subject, read_task
    from unmask.runs.prompts import prompts_of

    task, file, texts = given
    if sum(one is not None and one != [] for one in given) > 1:
        raise SettingError(
            "expected one of --task, --prompts and --prompt, got more. Put all prompts into one "
            "file."
        )
    asked = None if task is None and not model.startswith("pool:") else read_task(model, task)
    if file is not None:
        texts = _read(file)
    if texts:
        asked = None
    subject = as_subject(model, dtype=options[0], device=options[1])
    return subject, prompts_of(subject, asked, texts or ())


def _read(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
        prompts = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise SettingError(
            f"expected a file of prompts at {str(path)!r}, got: {error}. Give a UTF-8 text file "
            "with one prompt a line, or a .json list of texts."
        ) from error
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise SettingError(
            f"expected a list of texts in {str(path)!r}, got something else. Write it as "
            '["first prompt", "second prompt"].'
        )
    kept = [one for one in prompts if one.strip()]
    if not kept:
        raise SettingError(
            f"expected prompts in {str(path)!r}, got an empty file. Write one a line."
        )
    return kept


def _found(result: Any) -> Table:
    """Numbers only: text that a model wrote is shown in the report, where it is escaped."""
    table = Table(box=None, pad_edge=False)
    for name in ("vector", "length", "change over random", "percentile"):
        table.add_column(name, justify="right")
    for one in result.shown:
        strange = "" if one.percentile is None else f"{one.percentile:.3f}"
        table.add_row(str(one.index), f"{one.length:.3g}", f"{one.change:.2f}", strange)
    return table


def _plateaus(result: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    names = ("layer", "towards", "length", "std", "plateau", "boundary", "sharpness")
    for name in (*names, "area", "mixing p"):
        table.add_column(name, justify="left" if name == "towards" else "right")
    for layer in result.layers:
        for kind in layer.kinds:
            shape = [f"{value[0]:.2f}" for value in kind.shapes["kl"].values()]
            powers = " ".join(f"{power:.1f}" for power in kind.powers)
            length, far = f"{kind.length:.3g}", f"{kind.mahalanobis:.3g}"
            table.add_row(str(layer.layer), kind.kind, length, far, *shape, powers)
    return table


def _comparisons(result: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    names = ("layer", "radius", "directions", "rank correlation", "sign flips")
    for name in (*names, "behaviours of finite missed by"):
        table.add_column(name, justify="left" if name == "directions" else "right")
    for layer in result.layers:
        for one in layer.comparisons:
            rival = {"finite": "other seed"}
            for kind, correlation in one.correlations.items():
                name = rival.get(kind, kind)
                table.add_row(
                    str(layer.layer),
                    f"{one.radius:.3g}",
                    kind,
                    f"{correlation:.2f}",
                    f"{one.flips[kind]:.0%}",
                    f"{name} {one.missed[name]:.0%} of {one.n_behaviours}",
                )
    return table


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingError(
            f"expected {option} to be one of {', '.join(allowed)}, got {value!r}. Check the "
            "spelling."
        )


def _whole(option: str, text: str) -> int:
    return int(_number(option, text, int))


def _number(option: str, text: str, kind: Callable[[str], float | int] = float) -> float | int:
    try:
        return kind(text)
    except ValueError as error:
        what = "whole numbers separated by commas" if kind is int else "a number, plateau or dct"
        raise SettingError(f"expected {option} to be {what}, got {text!r}.") from error
