"""From an expression to its picture in one call."""

from wirework.emit.svg import to_svg
from wirework.emit.theme import THEME, Theme
from wirework.equation import Drawable
from wirework.layout import Hints, lay_out
from wirework.text import write


def draw(drawable: Drawable, hints: Hints | None = None, *, theme: Theme = THEME) -> str:
    """Draw a diagram, a sum or an equation as SVG, with its text form as what is read aloud."""
    return to_svg(lay_out(drawable, hints or Hints()), theme=theme, title=write(drawable))
