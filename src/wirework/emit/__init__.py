"""A scene as SVG, TikZ, PNG or PDF; nothing is decided here but how lines and letters look."""

from wirework.emit.draw import draw as draw
from wirework.emit.raster import to_pdf as to_pdf
from wirework.emit.raster import to_png as to_png
from wirework.emit.svg import to_svg as to_svg
from wirework.emit.theme import BARE as BARE
from wirework.emit.theme import THEME as THEME
from wirework.emit.theme import Palette as Palette
from wirework.emit.theme import Theme as Theme
from wirework.emit.tikz import to_tikz as to_tikz
