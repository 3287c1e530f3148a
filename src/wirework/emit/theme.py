"""Colours: lines are dark and thin, and a print that loses the light fills loses nothing."""

import re
from dataclasses import dataclass, fields, replace

from wirework.errors import WireworkError


@dataclass(frozen=True)
class Palette:
    """Colours as ``#rrggbb``."""

    ink: str = "#1c1f26"
    """Names and outlines."""
    wire: str = "#3a404c"
    muted: str = "#646b78"
    """Names of legs and dimensions, frames, notes."""
    accent: str = "#b4441b"
    """What is pointed at."""
    box: str = "#f2f5fa"
    disc: str = "#fbf6ea"
    triangle: str = "#eef6ef"
    frame: str = "#fafafa"

    def __post_init__(self) -> None:
        """Check the colours, which are written into styles as they are."""
        for name, colour in self.items():
            if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
                raise WireworkError(
                    f"expected a colour as #rrggbb for {name}, got {colour!r}. Names of colours "
                    "and other forms are not known to every format; write red as #ff0000."
                )

    def items(self) -> list[tuple[str, str]]:
        """Names and colours."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def fill(self, outline: str) -> str:
        """What an outline is filled with; loops are not."""
        return "none" if outline == "loop" else self.ink if outline == "dot" else self[outline]

    def __getitem__(self, name: str) -> str:
        """A colour by name."""
        return getattr(self, name)


LIGHT = Palette()
DARK = Palette(
    ink="#e8e9ec",
    wire="#b9bec8",
    muted="#969dab",
    accent="#f2a07b",
    box="#232a36",
    disc="#312d22",
    triangle="#213029",
    frame="#1b1d22",
)


@dataclass(frozen=True)
class Theme:
    """Colours by light and dark, and the fonts of an SVG, none of which is loaded."""

    light: Palette = LIGHT
    dark: Palette = DARK
    fonts: str = (
        "'Latin Modern Math', 'Latin Modern Roman', 'STIX Two Text', 'STIX Two Math', "
        "'Cambria Math', Cambria, Georgia, 'Times New Roman', 'DejaVu Serif', serif"
    )


THEME = Theme()
BARE = Theme(
    replace(LIGHT, box="#ffffff", disc="#ffffff", triangle="#ffffff", frame="#ffffff"),
    replace(DARK, box="#16181d", disc="#16181d", triangle="#16181d", frame="#16181d"),
)
"""Without fills."""

LINE, FRAME_LINE, LOOP_LINE = 0.8, 0.6, 1.1
"""Widths of lines in points: wires and outlines, frames, loops."""
