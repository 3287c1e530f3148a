"""Write the gallery: one page with every figure and its code; and each as SVG and TikZ."""

import argparse
import html
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from wirework.emit import to_svg, to_tikz
from wirework.gallery.figure import Figure, figures
from wirework.layout import lay_out

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
figure { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 2rem;
  align-items: center; margin: 0; padding: 1.4rem 0; border-top: 1px solid #8884; }
figcaption { grid-column: 1 / -1; }
figure > div { overflow-x: auto; text-align: center; }
svg { max-width: 100%; height: auto; }
pre { font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; margin: 0; padding: .7rem 1rem;
  background: #8881; border-radius: .4rem; }
nav a { margin-right: 1rem; }
@media (max-width: 50rem) { figure { grid-template-columns: minmax(0, 1fr); } }
"""


def page(shown: Sequence[Figure]) -> str:
    """The whole page, which loads nothing."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>wirework: gallery</title>',
        f"<style>{_STYLE}</style><h1>Gallery</h1>",
        f"<p>{len(shown)} figures, each drawn by the code beside it, with the names of "
        "<code>wirework</code>. The layout finds where tensors stand; what is asked of it is "
        "in the code.</p><nav>",
    ]
    chapters = [(title, list(some)) for title, some in groupby(shown, lambda one: one.chapter)]
    for number, (title, _) in enumerate(chapters):
        parts.append(f'<a href="#chapter-{number}">{html.escape(title)}</a>')
    parts.append("</nav>")
    for number, (title, some) in enumerate(chapters):
        parts.append(f'<h2 id="chapter-{number}">{html.escape(title)}</h2>')
        parts += [_figure(one) for one in some]
    return "\n".join(parts) + "\n</html>\n"


def _figure(one: Figure) -> str:
    svg = to_svg(lay_out(*one.drawing))
    caption = re.sub("``(.+?)``", r"<code>\1</code>", html.escape(one.caption))
    return (
        f'<figure id="{one.key}"><figcaption>{caption}</figcaption>'
        f"<div>{svg}</div><pre>{html.escape(one.code)}</pre></figure>"
    )


def write(out: Path, separate: Path | None = None) -> int:
    """Write the page, and each figure as a file if asked for; returns how many there are."""
    shown = figures()
    out.mkdir(parents=True, exist_ok=True)
    (out / "gallery.html").write_text(page(shown), encoding="utf-8")
    if separate is not None:
        separate.mkdir(parents=True, exist_ok=True)
        for one in shown:
            scene = lay_out(*one.drawing)
            (separate / f"{one.key}.svg").write_text(to_svg(scene), encoding="utf-8")
            (separate / f"{one.key}.tex").write_text(to_tikz(scene), encoding="utf-8")
    return len(shown)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the gallery from the command line."""
    parser = argparse.ArgumentParser(prog="python -m wirework.gallery", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page")
    parser.add_argument("--figures", type=Path, help="folder for each figure as SVG and TikZ")
    asked = parser.parse_args(argv)
    print(f"{write(asked.out, asked.figures)} figures in {asked.out / 'gallery.html'}")


if __name__ == "__main__":
    main()
