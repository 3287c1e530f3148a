"""A small text form: ``i k: A[i j] B[j k]``, the open legs and then the tensors.

::

    i k: A[i j] B[j k]                 legs of one name are joined
    i: copy[i j k] x[j] y[k]           more than two are joined by a copy
    i k: A[i:d j:d] A*[k:d j:d]        a dimension after a colon; a star is the conjugate
    i: 2 A[i j] x[j] - y[i]            a sum
    q k: softmax(j){q j: S[q j]}[q k]  a function along legs, and the legs that leave it
    i: relu(){i: x[i]}[i]              a function of each element
    i j k: d/dA{i: A[i j] x[j]}[i j k] a derivative by a tensor, whose legs come last
    i: A[i j] x[j] = y[i] ≈ 0          an equation; "note" may follow a sign such as =

Names hold neither spaces nor any of ``[]{}()":*``, and do not begin with a sign of a sum or an
equation.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wirework.diagram import (
    Copy,
    Derivative,
    Diagram,
    Expression,
    Function,
    Leg,
    Node,
    Open,
    Port,
    Sum,
    Tensor,
)
from wirework.equation import Drawable, Equation
from wirework.errors import DiagramError
from wirework.functions import check

RELATIONS = "=≈≡∝≤≥≠→"
_HEAD = re.compile(r'\s*([^\[\]{}()"]*?):(?=\s|\}|$)|\s*([^\[\]{}()":]*):')
_RELATION = re.compile(rf'\s*([{RELATIONS}])(?:\s*"([^"]*)")?')
_SIGN = re.compile(r"\s*([+-])")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)(?=[\s}]|$)")
_NAME = re.compile(rf'\s*((?![+\-{RELATIONS}])[^\s\[\]{{}}()":*]+)(\*?)(?:\(([^()]*)\))?(?=[\[{{])')
_LEGS = re.compile(r"\s*\[([^\[\]]*)\]")


def parse(text: str, declared: Mapping[str, Tensor] | None = None) -> Expression:
    """Read a diagram or a sum.

    Legs of the same name are joined; a name that joins more than two needs a ``copy``. A leg is
    ``name`` or ``name:dimension``, and a dimension holds wherever the name stands in a term, or
    wherever it is open.

    Args:
        text: The form is that of `wirework.text`.
        declared: Kinds of tensors, and the dimensions and sides of their legs, by name.

    Raises:
        DiagramError: If the text is malformed, or a leg is neither joined nor open.

    >>> str(parse("i: A[i j] x[j]"))
    'i: A[i j] x[j]'
    """
    found = parse_drawable(text, declared)
    if isinstance(found, Equation):
        raise DiagramError(
            f"expected one diagram or sum, got an equation in {text!r}. Read its sides one by "
            "one, or read it with `wirework.parse_equation`."
        )
    return found


def parse_equation(text: str, declared: Mapping[str, Tensor] | None = None) -> Equation:
    """Read an equation: the open legs once, then the sides.

    Raises:
        DiagramError: If the text is malformed, or holds no equation.

    >>> write(parse_equation('i: A[i j] x[j] = "by definition" y[i]'))
    'i: A[i j] x[j] = "by definition" y[i]'
    """
    found = parse_drawable(text, declared)
    if not isinstance(found, Equation):
        raise DiagramError(
            f"expected an equation, got no sign such as = in {text!r}. Read a single expression "
            "with `wirework.parse`."
        )
    return found


def parse_drawable(text: str, declared: Mapping[str, Tensor] | None = None) -> Drawable:
    """Read a diagram, a sum or an equation.

    Raises:
        DiagramError: If the text is malformed, or a leg is neither joined nor open.
    """
    return _Reader(text, declared or {}).drawable()


@dataclass(frozen=True)
class _Item:
    """A tensor, copy or box as it is written."""

    name: str
    conjugate: bool
    along: tuple[str, ...] | None
    inner: Expression | None
    words: tuple[str, ...]
    """Its legs."""


_Terms = list[tuple[float, list[_Item]]]


class _Reader:
    """What is read, and how far."""

    def __init__(self, text: str, declared: Mapping[str, Tensor]) -> None:
        self.text, self.declared = text, declared
        self.at = 0

    def drawable(self) -> Drawable:
        opened = self._head()
        read, relations, notes = [self._terms()], [], []
        while match := self._take(_RELATION):
            relations.append(match[1])
            notes.append(match[2] or "")
            read.append(self._terms())
        if rest := self.text[self.at :].strip():
            raise DiagramError(
                f"expected tensors as NAME[leg leg], got {rest!r} in {self.text!r}. Legs stand "
                "in brackets, separated by spaces; + and - stand between terms."
            )
        sides = self._built(opened, read)
        if not relations:
            return sides[0]
        return Equation(sides, tuple(relations), tuple(notes) if any(notes) else ())

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return match

    def _head(self) -> tuple[str, ...]:
        match = self._take(_HEAD)
        if match is None:
            raise DiagramError(
                f"expected 'open legs: tensors', got {self.text[self.at :]!r}. A number has "
                "nothing before the colon: ': x[i] y[i]'."
            )
        return tuple((match[1] or match[2] or "").split())

    def _terms(self) -> tuple[_Terms, bool]:
        """The terms of one side, and whether it is a bare diagram."""
        found: _Terms = []
        bare = True
        while True:
            sign = self._take(_SIGN) if self.at < len(self.text) else None
            if found and sign is None:
                return found, bare and len(found) == 1
            number = self._take(_NUMBER)
            items = self._items()
            if sign and not number and not items:
                raise DiagramError(
                    f"expected a term after {sign[1]!r}, got {self.text[self.at :]!r} in "
                    f"{self.text!r}. A sum is written as 'i: 2 x[i] - y[i]'."
                )
            bare = bare and not sign and not number
            factor = float(number[1]) if number else 1.0
            found.append((-factor if sign and sign[1] == "-" else factor, items))

    def _items(self) -> list[_Item]:
        found = []
        while match := self._take(_NAME):
            inner = self._inner(match[1], match[3]) if self.text[self.at] == "{" else None
            legs = self._take(_LEGS)
            if legs is None or (match[3] is not None and inner is None):
                raise DiagramError(
                    f"expected legs in brackets after {match[0].strip()!r}, got "
                    f"{self.text[self.at :]!r} in {self.text!r}. A function is written as "
                    "'exp(){i: x[i]}[i]', a tensor as 'x[i]'."
                )
            along = None if match[3] is None else tuple(match[3].replace(",", " ").split())
            found.append(_Item(match[1], bool(match[2]), along, inner, tuple(legs[1].split())))
        return found

    def _inner(self, name: str, along: str | None) -> Expression:
        if along is None and not name.startswith("d/d"):
            raise DiagramError(
                f"expected the legs along which {name} acts before '{{', got none in "
                f"{self.text!r}. Write them as in 'softmax(j){{...}}', or '()' if it acts on "
                "each element; a derivative is 'd/dNAME{...}'."
            )
        self.at += 1
        opened = self._head()
        read = self._terms()
        if self._take(re.compile(r"\s*\}")) is None:
            raise DiagramError(
                f"expected '}}' after what {name} is applied to, got {self.text[self.at :]!r} in "
                f"{self.text!r}. Either a bracket is not closed, or a term is malformed."
            )
        return self._built(opened, [read])[0]

    def _built(
        self, opened: tuple[str, ...], read: list[tuple[_Terms, bool]]
    ) -> tuple[Expression, ...]:
        names = tuple(word.partition(":")[0] for word in opened)
        # What is open has one dimension in all terms.
        said = _dims([opened, *_words(item for terms, _ in read for _, item in terms)])
        shared = {name: said[name] for name in names if name in said}
        for terms, _ in read:
            for _, items in terms:
                for item in items:
                    for name, dim in self._known(item):
                        if name in names:
                            shared.setdefault(name, dim)
        return tuple(self._side(names, shared, terms, bare) for terms, bare in read)

    def _side(
        self, names: tuple[str, ...], shared: dict[str, str], terms: _Terms, bare: bool
    ) -> Expression:
        if terms == [(0.0, [])]:
            return Sum((), tuple(Leg(name, shared.get(name, name)) for name in names))
        built = tuple((factor, self._diagram(names, shared, items)) for factor, items in terms)
        return built[0][1] if bare else Sum(built)

    def _diagram(
        self, opened: tuple[str, ...], shared: dict[str, str], items: list[_Item]
    ) -> Diagram:
        dims = {**_dims([item.words for item in items]), **shared}
        for item in items:
            for name, dim in self._known(item):
                dims.setdefault(name, dim)
        nodes = [self._node(item, dims) for item in items]
        ends: dict[str, list[Port]] = {}
        for number, item in enumerate(items):
            for leg, word in enumerate(item.words):
                ends.setdefault(word.partition(":")[0], []).append(Port(number, leg))
        return self._joined(nodes, ends, opened, dims)

    def _known(self, item: _Item) -> list[tuple[str, str]]:
        """Dimensions of legs by what was declared, or by what is in a box."""
        legs: tuple[Leg, ...] = ()
        if item.inner is not None:
            legs = item.inner.legs
        elif item.name in self.declared:
            legs = self.declared[item.name].legs
        names = (word.partition(":")[0] for word in item.words)
        return [(name, leg.dim) for name, leg in zip(names, legs, strict=False)]

    def _node(self, item: _Item, dims: Mapping[str, str]) -> Node:
        names = [word.partition(":")[0] for word in item.words]
        legs = tuple(Leg(name, dims.get(name, name)) for name in names)
        if item.inner is not None:
            return self._box(item, item.inner, legs)
        if item.name == "copy":
            return Copy(legs)
        kind = self.declared.get(item.name)
        if kind is None:
            return Tensor(item.name, legs, conjugate=item.conjugate)
        self._require(item, len(kind.legs), "declared with")
        sided = tuple(replace(a, side=b.side) for a, b in zip(legs, kind.legs, strict=True))
        return replace(kind, legs=sided, conjugate=item.conjugate)

    def _box(self, item: _Item, inner: Expression, legs: tuple[Leg, ...]) -> Node:
        if item.along is None:
            return Derivative(inner, item.name.removeprefix("d/d"), legs[len(inner.legs) :])
        self._require(item, len(inner.legs), "applied to an expression with")
        check(item.name, item.along)
        known = [leg.name for leg in inner.legs]
        if unknown := [leg for leg in item.along if leg not in known]:
            raise DiagramError(
                f"expected legs inside of {item.name} among {', '.join(known) or 'none'}, got "
                f"{unknown[0]!r} in {self.text!r}. A function acts along open legs of what is "
                "in its braces, by their names there."
            )
        return Function(item.name, inner, item.along)

    def _require(self, item: _Item, n_legs: int, how: str) -> None:
        if len(item.words) != n_legs:
            raise DiagramError(
                f"expected {n_legs} legs for {item.name}, which is {how} as many, got "
                f"[{' '.join(item.words)}] in {self.text!r}. The legs stand in the same order."
            )

    def _joined(
        self,
        nodes: list[Node],
        ends: dict[str, list[Port]],
        opened: tuple[str, ...],
        dims: dict[str, str],
    ) -> Diagram:
        for name in opened:
            if len(ends.get(name, ())) != 1:
                raise DiagramError(
                    f"expected one tensor with the open leg {name!r}, got "
                    f"{len(ends.get(name, ()))} in {self.text!r}. A leg that is open and joined "
                    "goes through a copy with a third leg."
                )
        for name, ports in ends.items():
            if name not in opened and len(ports) != 2:
                where = ", ".join(str(nodes[port.node]) for port in ports)
                raise DiagramError(
                    f"expected leg {name!r} to join two legs, got {len(ports)}: {where}. More are "
                    "joined by copy[...], and one alone is summed by copy[...] of one leg."
                )
        wires = tuple((ports[0], ports[1]) for name, ports in ends.items() if name not in opened)
        final = tuple(Open(Leg(name, dims.get(name, name)), ends[name][0]) for name in opened)
        return Diagram(tuple(nodes), wires, final)


def _words(terms: Iterable[list[_Item]]) -> list[tuple[str, ...]]:
    return [item.words for items in terms for item in items]


def _dims(words: Iterable[tuple[str, ...]]) -> dict[str, str]:
    parts = (word.partition(":") for some in words for word in some)
    return {name: dim for name, _, dim in parts if dim}


def write(drawable: Drawable) -> str:
    """Write so that `parse` reads it back; kinds of tensors are not written."""
    if isinstance(drawable, Equation):
        said = _side(drawable.sides[0])
        notes = drawable.notes or ("",) * len(drawable.relations)
        for relation, note, side in zip(drawable.relations, notes, drawable.sides[1:], strict=True):
            note = note.replace('"', "'")
            said += f' {relation} "{note}" ' if note else f" {relation} "
            said += _side(side)
        legs = drawable.sides[0].legs
    else:
        said, legs = _side(drawable), drawable.legs
    head = " ".join(_word(leg.name, leg.dim) for leg in legs)
    return f"{head}: {said}"


def _side(expression: Expression) -> str:
    if isinstance(expression, Diagram):
        return _term(expression)
    said = ""
    for factor, term in expression.terms:
        sign = "-" if factor < 0 else "+"
        size = f"{abs(factor)!r}".removesuffix(".0")
        plain = size == "1" and term.nodes and (len(expression.terms) > 1 or factor < 0)
        both = [*([] if plain else [size]), *([_term(term)] if term.nodes else [])]
        lead = ("-" if factor < 0 else "") if not said else f" {sign} "
        said += lead + " ".join(both)
    return said or "0"


def _term(diagram: Diagram) -> str:
    taken = {one.leg.name for one in diagram.open}
    names: dict[Port, str] = {one.port: one.leg.name for one in diagram.open}
    for first, second in diagram.wires:
        name = _free(diagram.leg(first).name, taken)
        taken.add(name)
        names[first] = names[second] = name
    said = []
    for number, node in enumerate(diagram.nodes):
        legs = " ".join(
            _word(names[Port(number, place)], leg.dim) for place, leg in enumerate(node.legs)
        )
        match node:
            case Tensor():
                said.append(f"{node.name}{'*' if node.conjugate else ''}[{legs}]")
            case Copy():
                said.append(f"copy[{legs}]")
            case Function() | Derivative():
                said.append(f"{node}{{{write(node.inner)}}}[{legs}]")
    return " ".join(said)


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{number}"
    return free


def _word(name: str, dim: str) -> str:
    return name if name == dim else f"{name}:{dim}"
