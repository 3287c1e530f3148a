"""Files of figures, line by line.

::

    # The part of a head that decides where to look.
    tensor W_Q[d:model h:head] isometry h, up h
    tensor W_K[d:model h:head]
    tensor S[a:d b:d] symmetric a b

    figure scores
    q:pos k:pos: E[q d] W_Q[d h] W_K[e h] E[k e]
        = "by definition" A[q k]
    pin W_Q 0 0
    place E#2 right of W_K
    group "attention": W_Q W_K

An expression or an equation (see `wirework.text`) makes a figure. A line that begins with a space
goes on with the one before, and ``#`` begins a comment at the start of a line or after a space. All
other lines begin with one of these words:

``tensor NAME[legs] CLAUSE, CLAUSE, ...``
    Says of what kind a tensor is, wherever it stands below. Its legs stand in the order of the
    array's axes, and a dimension given here holds everywhere. A clause is ``zero``, ``complex``,
    ``symmetric LEG LEG ...`` (legs that may be exchanged), ``isometry LEG ...`` (its bonds), or a
    side of the drawing, ``left``, ``right``, ``up`` or ``down``, with the legs that leave there.
``figure NAME``
    Names the figure that follows; without it, figures are numbered from 1.

What asks something of the layout stands below its figure. A node is meant by its name, if it is
the only one of that name, by ``A#2`` for the second A, or by its number, from 0.

``pin NODE X Y``
    Its centre, in points, from that of the figure's first pinned node; x to the right, y down.
``place NODE RELATION NODE``
    The relation is ``left of``, ``right of``, ``above``, ``below``, ``level with`` or ``in column
    with``.
``group "TITLE": NODE NODE ...``
    A frame around nodes.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

from wirework.diagram import Copy, Leg, Side, Tensor, nodes_of
from wirework.equation import Drawable, Equation
from wirework.errors import FileError, WireworkError
from wirework.layout.hints import Group, Hints, Key, Relation
from wirework.text import parse_drawable

_WORDS = ("tensor", "figure", "pin", "place", "group")
_DECLARED = re.compile(r"(\S+?)\[([^\[\]]*)\](.*)")
_TITLED = re.compile(r'"([^"]*)"\s*:?(.*)')
_COMMENT = re.compile(r"(?:^|\s)#.*")
_SIDES = get_args(Side)
_RELATIONS = get_args(Relation.__annotations__["how"])


class Figure(NamedTuple):
    """An expression, and what is asked of its layout."""

    name: str
    drawable: Drawable
    hints: Hints
    line: int
    """Of the file, from 1, at which it begins."""


class _Line(NamedTuple):
    number: int
    text: str


def load(path: str | Path) -> tuple[Figure, ...]:
    """Read a file of figures.

    Raises:
        FileError: If it cannot be read, or a line is malformed; the message says which.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(
            f"expected a file at {path}, got: {error.strerror}. Check the path; '-' reads from "
            "standard input on the command line."
        ) from error
    except UnicodeDecodeError as error:
        raise FileError(
            f"expected text in UTF-8 in {path}, got the byte {error.object[error.start]:#04x} at "
            f"{error.start}. It is probably no text, or in another encoding; save it as UTF-8."
        ) from error
    return read(text, str(path))


def read(text: str, source: str = "<text>") -> tuple[Figure, ...]:
    """Read figures from a text; `source` names it in messages.

    Raises:
        FileError: If a line is malformed; the message says which.

    >>> [str(figure.drawable) for figure in read("i: A[i j] x[j]  # a product")]
    ['i: A[i j] x[j]']
    """
    reader = _Reader()
    for line in _lines(text):
        try:
            reader.add(line)
        except WireworkError as error:
            raise FileError(f"{source}, line {line.number}: {error}") from error
    if reader.name is not None or not reader.figures:
        raise FileError(
            f"expected an expression{f' after figure {reader.name}' if reader.name else ''}, got "
            f"the end of {source}. A figure is a line such as 'i: A[i j] x[j]'."
        )
    return tuple(reader.figures)


def _lines(text: str) -> Iterator[_Line]:
    """Lines without comments, each with those that go on with it."""
    waiting: _Line | None = None
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        said = _COMMENT.sub("", raw).rstrip()
        if not said:
            continue
        if waiting and said[0].isspace():
            waiting = _Line(waiting.number, f"{waiting.text} {said.strip()}")
            continue
        if waiting:
            yield waiting
        waiting = _Line(number, said.strip())
    if waiting:
        yield waiting


class _Reader:
    """What was declared, and the figures so far."""

    def __init__(self) -> None:
        self.declared: dict[str, Tensor] = {}
        self.figures: list[Figure] = []
        self.name: str | None = None

    def add(self, line: _Line) -> None:
        word, _, rest = line.text.partition(" ")
        if word == "tensor":
            self._declare(rest)
        elif word == "figure":
            self._name(rest.strip())
        elif word in _WORDS:
            self._ask(word, rest.strip())
        elif ":" in line.text:
            drawable = parse_drawable(line.text, self.declared)
            name = self.name or str(len(self.figures) + 1)
            self.figures.append(Figure(name, drawable, Hints(), line.number))
            self.name = None
        else:
            raise FileError(
                f"expected an expression, or a line that begins with {', '.join(_WORDS)}, got "
                f"{line.text!r}. An expression names its open legs first: 'i: A[i j] x[j]'; one "
                "that goes on with the line above begins with a space."
            )

    def _declare(self, rest: str) -> None:
        match = _DECLARED.fullmatch(rest.strip())
        if match is None:
            raise FileError(
                f"expected 'tensor NAME[legs] kind', got {rest!r}. The legs stand in brackets: "
                "'tensor U[n r] isometry r'."
            )
        name, legs = match[1], [Leg(a, c or a) for a, _, c in _parted(match[2])]
        if name in self.declared:
            raise FileError(
                f"expected one declaration of {name}, got a second. It probably belongs to "
                "another tensor; put all clauses into one, separated by commas."
            )
        tensor = Tensor(name, tuple(legs))
        for clause in filter(None, (one.split() for one in match[3].split(","))):
            tensor = _with(tensor, clause[0], clause[1:])
        self.declared[name] = tensor

    def _name(self, name: str) -> None:
        if not re.fullmatch(r"[\w-]+", name) or name in {figure.name for figure in self.figures}:
            raise FileError(
                f"expected a new name of letters, digits, - and _ for a figure, got {name!r}. It "
                "becomes part of a file's name; choose another."
            )
        if self.name is not None:
            raise FileError(
                f"expected an expression after figure {self.name}, got figure {name}. A figure "
                "is named just before its expression."
            )
        self.name = name

    def _ask(self, word: str, rest: str) -> None:
        if not self.figures or self.name is not None:
            raise FileError(
                f"expected an expression before '{word} {rest}', got none. What is asked of a "
                "layout stands below its figure; move the line down."
            )
        figure = self.figures[-1]
        hints = {"pin": _pinned, "place": _placed, "group": _grouped}[word](figure, rest)
        self.figures[-1] = figure._replace(hints=hints)


def _with(tensor: Tensor, word: str, names: list[str]) -> Tensor:
    """A tensor with a clause of its declaration."""
    known = [leg.name for leg in tensor.legs]
    for name in names:
        if known.count(name) != 1:
            raise FileError(
                f"expected one leg among [{' '.join(known)}] in '{word} {' '.join(names)}', got "
                f"{name!r}. Clauses name legs as the brackets of {tensor.name} do, each of which "
                "needs a name of its own; clauses are separated by commas."
            )
    places = tuple(map(known.index, names))
    if word in ("zero", "complex") and not names:
        return replace(tensor, zero=True) if word == "zero" else replace(tensor, real=False)
    if word == "symmetric" and len(names) > 1:
        return replace(tensor, symmetric=(*tensor.symmetric, places))
    if word == "isometry" and names:
        return replace(tensor, isometry=places)
    if word in _SIDES and names:
        legs = (
            replace(leg, side=word) if place in places else leg
            for place, leg in enumerate(tensor.legs)
        )
        return replace(tensor, legs=tuple(legs))
    raise FileError(
        "expected zero, complex, symmetric LEG LEG ..., isometry LEG ..., or a side "
        f"({', '.join(_SIDES)}) with legs, got {' '.join([word, *names])!r} for {tensor.name}. "
        "Clauses are separated by commas."
    )


def _pinned(figure: Figure, rest: str) -> Hints:
    node, *place = rest.split() or [""]
    try:
        x, y = map(float, place)
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise FileError(
            f"expected 'pin NODE X Y', got 'pin {rest}'. X and Y are numbers, in points: "
            "'pin A 0 0'."
        )
    pins = {**figure.hints.pins, _key(figure, node): (x, y)}
    return replace(figure.hints, pins=pins)


def _placed(figure: Figure, rest: str) -> Hints:
    match = re.fullmatch(rf"(\S+)\s+({'|'.join(_RELATIONS)})\s+(\S+)", rest)
    if match is None:
        raise FileError(
            f"expected 'place NODE RELATION NODE', got 'place {rest}'. A relation is one of: "
            f"{', '.join(_RELATIONS)}."
        )
    how = next(how for how in _RELATIONS if how == match[2])
    relation = Relation(_key(figure, match[1]), how, _key(figure, match[3]))
    return replace(figure.hints, relations=(*figure.hints.relations, relation))


def _grouped(figure: Figure, rest: str) -> Hints:
    match = _TITLED.fullmatch(rest)
    if match is None or not match[2].split():
        raise FileError(
            f"expected 'group \"TITLE\": NODE NODE ...', got 'group {rest}'. The title stands in "
            "quotes, which may be empty."
        )
    group = Group(match[1], tuple(_key(figure, word) for word in match[2].split()))
    return replace(figure.hints, groups=(*figure.hints.groups, group))


def _key(figure: Figure, word: str) -> Key:
    """A node as hints mean it; that it exists is checked here, where the line is known."""
    drawable = figure.drawable
    sides = drawable.sides if isinstance(drawable, Equation) else (drawable,)
    nodes = [node for side in sides for node in nodes_of(side)]
    if word.isdecimal():
        if int(word) < len(nodes):
            return int(word)
    else:
        names = ["copy" if isinstance(node, Copy) else node.name for node in nodes]
        name, hash_, number = word.partition("#")
        count = names.count(name)
        if count > 1 and not hash_:
            raise FileError(
                f"expected the name of one node, got {word!r}, which {count} nodes of the figure "
                f"have. Say which one: {word}#1 is the first."
            )
        if re.fullmatch("[0-9]+", number or "1") and 1 <= int(number or "1") <= count:
            return word
    known = ", ".join(dict.fromkeys("copy" if isinstance(n, Copy) else n.name for n in nodes))
    raise FileError(
        f"expected a node of the figure, got {word!r}; there are: {known}. Check the spelling; "
        "the second A is A#2, and numbers count from 0."
    )


def _parted(words: str) -> list[tuple[str, str, str]]:
    return [word.partition(":") for word in words.split()]
