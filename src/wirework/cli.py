"""The command line: files of figures to pictures and to code."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from wirework.diagram import Diagram, Expression, Tensor, nodes_of
from wirework.emit import to_pdf, to_png, to_svg, to_tikz
from wirework.equation import Equation
from wirework.errors import FileError, WireworkError
from wirework.files import Figure, load, read
from wirework.layout import lay_out
from wirework.layout.scene import Scene
from wirework.text import write
from wirework.values import code

_SUFFIXES = {".svg": "svg", ".tex": "tikz", ".tikz": "tikz", ".png": "png", ".pdf": "pdf"}
_BINARY: dict[str, Callable[[Scene], bytes]] = {"png": to_png, "pdf": to_pdf}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line: exit with 0, 1 for what a user can mend, 2 for usage."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except WireworkError as error:
        sys.exit(f"Error: {error}")  # to standard error, with exit code 1
    except BrokenPipeError:
        # Whoever read our output has enough; closing it again must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wirework", description="Draw tensor diagrams, and print them as code."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    render = commands.add_parser("render", help="draw the figures of a file")
    _add_file(render)
    render.add_argument(
        "-o",
        "--out",
        type=Path,
        help="where to; of several figures, each goes to OUT-NAME. SVG and TikZ go to standard "
        "output without it",
    )
    render.add_argument(
        "--format", choices=("svg", "tikz", "png", "pdf"), help="instead of what OUT ends in"
    )
    render.add_argument("--standalone", action="store_true", help="make a whole document of TikZ")
    render.set_defaults(run=_render)
    printed = commands.add_parser("code", help="print the figures of a file as einsum code")
    _add_file(printed)
    printed.add_argument(
        "--cost",
        type=_sizes,
        metavar="DIM=SIZE,...",
        help="sizes of dimensions, to print what the contraction costs",
    )
    printed.set_defaults(run=_code)
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="figures, or - to read standard input")
    parser.add_argument("--figure", metavar="NAME", help="only this one")


def _sizes(text: str) -> dict[str, int]:
    sizes = {}
    for part in text.split(","):
        dim, equals, size = part.strip().rpartition("=")
        if not (dim and equals and size.isdecimal() and int(size)):
            raise argparse.ArgumentTypeError(
                f"expected sizes as DIM=SIZE,..., got {part!r}. Write d=64,head=8."
            )
        sizes[dim] = int(size)
    return sizes


def _figures(options: argparse.Namespace) -> tuple[Figure, ...]:
    if options.file == "-":
        try:
            found = read(sys.stdin.read(), "standard input")
        except UnicodeDecodeError as error:
            raise FileError(
                f"expected text on standard input, got bytes that are none ({error.reason}). "
                "Save it as UTF-8."
            ) from error
    else:
        found = load(options.file)
    if options.figure is None:
        return found
    for figure in found:
        if figure.name == options.figure:
            return (figure,)
    raise FileError(
        f"expected a figure named {options.figure!r} in {options.file}, got: "
        f"{', '.join(figure.name for figure in found)}. Check the spelling; figures without a "
        "name are numbered from 1."
    )


def _render(options: argparse.Namespace) -> None:
    form = _format(options)
    figures = _figures(options)
    if options.out is None and (form in _BINARY or len(figures) > 1):
        what = f"{len(figures)} figures" if len(figures) > 1 else f"{form.upper()}, which is binary"
        raise FileError(
            f"expected one figure as SVG or TikZ on standard output, got {what}. Name a file "
            "with -o, or one figure with --figure."
        )
    # All are drawn before any is written, so that an error leaves everything as it was.
    drawn = [(figure, _drawn(figure, form, options)) for figure in figures]
    for figure, picture in drawn:
        if options.out is None:
            sys.stdout.buffer.write(picture)
        elif len(figures) == 1:
            _replace(options.out, picture)
        else:
            stem = f"{options.out.stem}-{figure.name}{options.out.suffix}"
            _replace(options.out.with_name(stem), picture)


def _format(options: argparse.Namespace) -> str:
    if options.format:
        return options.format
    if options.out is None:
        return "svg"
    if (suffix := options.out.suffix.lower()) in _SUFFIXES:
        return _SUFFIXES[suffix]
    raise FileError(
        f"expected a file that ends in {', '.join(_SUFFIXES)}, got {str(options.out)!r}. Name the "
        "format with --format."
    )


def _drawn(figure: Figure, form: str, options: argparse.Namespace) -> bytes:
    try:
        scene = lay_out(figure.drawable, figure.hints)
    except WireworkError as error:
        raise FileError(f"{options.file}, figure in line {figure.line}: {error}") from error
    if form in _BINARY:
        return _BINARY[form](scene)
    if form == "tikz":
        return to_tikz(scene, standalone=options.standalone).encode()
    return to_svg(scene, title=write(figure.drawable)).encode()


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        # Beside the file, since only within one file system it can be put in its place at once.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".wirework-", delete=False) as new:
            temporary = Path(new.name)
            new.write(content)
        try:
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise
    except OSError as error:
        raise FileError(
            f"expected to write {path}, got: {error.strerror}. Check that its folder is there, "
            "and may be written to."
        ) from error


def _umask() -> int:
    """The permissions that new files do not get; it cannot be read without being set."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _code(options: argparse.Namespace) -> None:
    for figure in _figures(options):
        drawable = figure.drawable
        sides = drawable.sides if isinstance(drawable, Equation) else (drawable,)
        try:
            said = [_coded(side, options.cost) for side in sides]
        except WireworkError as error:
            raise FileError(f"{options.file}, figure in line {figure.line}: {error}") from error
        print(f"# {write(drawable)}")
        print("\n".join(said))


def _coded(expression: Expression, sizes: Mapping[str, int] | None) -> str:
    """One line for each term."""
    if isinstance(expression, Diagram):
        return code(expression, _arrays(expression, sizes))
    lines = []
    for factor, term in expression.terms:
        size = f"{factor!r}".removesuffix(".0")
        signed = size if factor < 0 else f"+{size}"
        lines.append(f"{signed} * {code(term, _arrays(term, sizes))}" if term.nodes else signed)
    return "\n".join(lines) or "0"


def _arrays(term: Diagram, sizes: Mapping[str, int] | None) -> dict[str, np.ndarray] | None:
    """Arrays of the shapes only: all their elements are one zero."""
    if sizes is None:
        return None
    arrays = {}
    for node in nodes_of(term):
        for leg in node.legs:
            if leg.dim not in sizes:
                raise WireworkError(
                    f"expected a size for dimension {leg.dim!r} of {node}, got: "
                    f"{', '.join(sizes)}. Add it: --cost {leg.dim}=64."
                )
        if isinstance(node, Tensor):
            shape = tuple(sizes[leg.dim] for leg in node.legs)
            arrays[node.name] = np.broadcast_to(np.zeros(()), shape)
    return arrays
