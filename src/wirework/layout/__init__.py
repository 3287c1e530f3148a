"""Where everything is drawn: columns, rows and ports, then wires around what is in the way."""

from wirework.layout.hints import Group as Group
from wirework.layout.hints import Hints as Hints
from wirework.layout.hints import Relation as Relation
from wirework.layout.page import lay_out as lay_out
from wirework.layout.quality import Quality as Quality
from wirework.layout.quality import measure as measure
from wirework.layout.quality import overlaps as overlaps
from wirework.layout.scene import Point as Point
from wirework.layout.scene import Scene as Scene
from wirework.layout.scene import Shape as Shape
from wirework.layout.scene import Text as Text
from wirework.layout.scene import Wire as Wire
