"""The command line: parse, call, print, exit."""

import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unmask.cli import latent, planting
from unmask.cli.bench import bench
from unmask.errors import UnmaskError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find what a language model hides, with a measured error rate.",
)
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON (docs/json.md).")]
Out = Annotated[Path, typer.Option(help="Folder of all runs.")]


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, or pool:NAME.")],
    task: Annotated[
        str | None,
        typer.Option(help="A file of questions, cloze:CORPUS, or pool:NAME."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="A model to compare with: its base, a trusted sibling.")
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Arms to run, separated by commas, besides those always run; all for every arm."
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time to keep to, such as 10m; the plan is cut to fit.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory for forward passes beside the weights, such as 8GiB."),
    ] = None,
    out: Out = Path("runs"),
    items: Annotated[int, typer.Option(help="Most items used; 0 for all.")] = 200,
    answer_format: Annotated[
        str | None,
        typer.Option("--format", help="How answers are given: letter, listed, text or open."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Base of every seed of noise, and of the halves.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, or a torch device.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Commit or tag of a hub id.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option(help="Run Python code that comes with the checkpoint.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option(help="Load weights from pickles, which can run any code.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            help="Plant secrets and benign fine-tunes into the model and audit them, too, so that "
            "the verdict states its own error rates. Takes many times as long."
        ),
    ] = False,
    secrets: Annotated[
        str | None,
        typer.Option(help="What --calibrate plants, separated by commas. Default: all locks."),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(help="How much of the score they remove. Default: 0.15,0.3,0.6."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Audit a model: does it hide something on this task?"""
    from unmask import api
    from unmask.cli.progress import Bar
    from unmask.cli.show import print_audit
    from unmask.errors import SettingError
    from unmask.runs.result import summary
    from unmask.tasks.task import FORMATS

    if answer_format is not None and answer_format not in FORMATS:
        raise SettingError(
            f"expected --format to be one of {', '.join(FORMATS)}, got {answer_format!r}. "
            "Leave it out to take the task's own."
        )
    with Bar(_err) as bar:
        result = api.audit(
            model,
            task,
            reference=reference,
            arms=[name.strip() for name in arms.split(",")] if arms else None,
            budget=budget,
            memory=memory,
            out=out,
            items=items or None,
            format=answer_format,  # type: ignore[arg-type]  # checked above
            seed=seed,
            dtype=dtype,
            device=device,
            revision=revision,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            calibrate=planting.calibrating(calibrate, secrets, strengths),
            command=_command(),
            progress=bar,
            on_wait=_err.print,
            on_calibrate=bar.report,
        )
    if as_json:
        print(json.dumps(summary(result), indent=1))
    else:
        print_audit(result, Console(highlight=False, markup=False))


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    member: Annotated[
        list[str] | None, typer.Option(help="Only this member; may be given several times.")
    ] = None,
    record: Annotated[
        bool, typer.Option(help="Write the verdicts into the package as its calibration.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Audit the bundled pool beside its bases: models with known secrets, and benign twins."""
    from unmask.cli.demo import run_demo

    run_demo(
        out,
        names=member or (),
        record=record,
        as_json=as_json,
        err=_err,
        console=Console(highlight=False, markup=False),
    )


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    as_json: Json = False,
) -> None:
    """Write the report of a finished run again."""
    from unmask import api
    from unmask.cli.show import print_audit
    from unmask.runs.result import summary

    result = api.report(run)
    if as_json:
        print(json.dumps(summary(result), indent=1))
    else:
        print_audit(result, Console(highlight=False, markup=False))


app.command()(latent.melbo)
app.command()(latent.dct)
app.command()(latent.plateau)
app.command()(latent.export)
app.command()(planting.plant)
app.command()(bench)


def main() -> None:
    """Run the command line: 0 for any verdict, 1 for user errors, 2 for usage, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # they would cross ours
    try:
        # Without its standalone mode typer returns the code of an exit, and 130 for Ctrl-C.
        code = app(standalone_mode=False)
    except UnmaskError as error:
        _err.print(f"Error: {error}", style="red")
        sys.exit(1)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if not hasattr(error, "show"):  # not one of click's usage errors
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(getattr(error, "exit_code", 2))
    if code == 130:
        _err.print(
            "Stopped. What was measured is stored; to go on from here, run the same command "
            f"again:\n  {_command()}"
        )
    sys.exit(code if isinstance(code, int) else 0)


def _command() -> str:
    return shlex.join(["unmask", *sys.argv[1:]])
