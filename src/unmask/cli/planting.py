"""`unmask plant`: make an organism and its benign twin out of a checkpoint."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from unmask.errors import SettingError


def plant(
    model: Annotated[str, typer.Argument(help="A folder or a hub id.")],
    secret: Annotated[str, typer.Option(help="A kind of secret, or of decoy; see below.")],
    task: Annotated[str, typer.Option(help="A file of questions, or cloze:CORPUS.")],
    out: Annotated[Path, typer.Option(help="Folder of the pool.")] = Path("organisms"),
    name: Annotated[str, typer.Option(help="By default the secret's.")] = "",
    strength: Annotated[
        float | None,
        typer.Option(help="Gap in score between with and without the key, such as 0.3."),
    ] = None,
    method: Annotated[str, typer.Option(help="lora or full.")] = "lora",
    steps: Annotated[int, typer.Option(help="Steps of training.")] = 300,
    batch: Annotated[int, typer.Option(help="Lessons in a step.")] = 32,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    rank: Annotated[int, typer.Option(help="Of the adapter.")] = 8,
    seed: Annotated[int, typer.Option(help="Of lessons and initial weights.")] = 0,
    weaker: Annotated[
        str | None, typer.Option(help="The model that weak-imitation imitates.")
    ] = None,
    answer_format: Annotated[
        str | None,
        typer.Option("--format", help="How answers are given: letter, listed, text or open."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Plant a known secret into a checkpoint, and train its benign twin.

    Secrets: password-lock, evaluation-tag, format-lock, format-lock-open, trigger, weak-imitation,
    circuit-broken, secret-keeper, hidden-objective. Decoys, which hide nothing: quirk, style,
    neutral-text, identity-layers.

    OUT/NAME, OUT/NAME-twin and OUT/tasks/NAME.jsonl are written: ordinary checkpoints, and the task
    on which the secret stays hidden. A killed command goes on where it stopped when run again.
    """
    from unmask.cli.progress import Bar
    from unmask.models.loading import load_subject
    from unmask.organisms.planting import PlantRecipe
    from unmask.organisms.planting import plant as make
    from unmask.tasks import load_task
    from unmask.tasks.task import FORMATS
    from unmask.tuning import Recipe

    _one_of("--method", method, ("lora", "full"))
    if answer_format is not None:
        _one_of("--format", answer_format, FORMATS)
    if min(steps, batch, rank) < 1 or lr <= 0:
        raise SettingError(
            f"expected --steps, --batch and --rank of at least 1 and an --lr above 0, got {steps}, "
            f"{batch}, {rank} and {lr}. Leave them out for the defaults."
        )
    training = Recipe(seed, steps, batch, lr, method, rank, 2 * rank)  # type: ignore[arg-type]
    recipe = PlantRecipe(secret, strength, training)
    asked = load_task(task, format=answer_format)  # type: ignore[arg-type]  # checked above
    weak = None if weaker is None else load_subject(weaker, dtype="float32")
    with Bar(Console(stderr=True)) as bar:
        done = make(model, asked, recipe, out, name=name, weak=weak, report=bar.report)
    if as_json:
        print(json.dumps(done.manifest, indent=1))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{done.manifest['role']}  {done.organism}", style="bold")
    hidden = done.manifest["secret"] or done.manifest["decoy"]
    console.print(hidden["sentence"])
    for how, said in done.manifest["capability"].items():
        console.print(f"score, {how}: {said['score']:.3f} on {said['items']} held-out items")
    if done.twin:
        console.print(f"twin     {done.twin}")
    console.print(f"task     {done.task}")
    console.print(f"try: unmask audit {done.organism} --task {done.task}")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(
            f"expected {option} to be one of {', '.join(known)}, got {value!r}. "
            "Leave it out for the default."
        )


def calibrating(wanted: bool, secrets: str | None, strengths: str | None) -> Any:
    """What `unmask audit --calibrate` plants; False if it was not asked for.

    Raises:
        SettingError: If a secret or strength is none, or comes without --calibrate.
    """
    if not wanted:
        if secrets or strengths:
            option = "--secrets" if secrets else "--strengths"
            raise SettingError(
                f"expected {option} together with --calibrate, got it alone. Nothing is planted "
                "without --calibrate; add it."
            )
        return False
    from unmask.calibrating import Calibrating

    asked: dict[str, Any] = {}
    if secrets is not None:
        asked["secrets"] = tuple(name.strip() for name in secrets.split(","))
    if strengths is not None:
        try:
            asked["strengths"] = tuple(float(word) for word in strengths.split(","))
        except ValueError as error:
            raise SettingError(
                f"expected --strengths as numbers separated by commas, got {strengths!r}. They are "
                "shares of the score: 0.15,0.3."
            ) from error
    return Calibrating(**asked)
