"""Sums and equations: pieces in rows, with signs and relations between."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import repeat

from wirework.diagram import Diagram, Expression, Sum, terms
from wirework.equation import Drawable, Equation
from wirework.layout.constraints import Fixed, resolved
from wirework.layout.hints import Hints
from wirework.layout.parts import diagram_piece, take
from wirework.layout.piece import PAD, Piece
from wirework.layout.scene import Scene, Text
from wirework.layout.sizes import with_sizes

NO_HINTS = Hints()
WIDEST = 700.0
"""Width of a row, at most, unless a single term is wider."""
SPACE = 10.0
"""Between a sign and what is beside it."""
ROWS = 26.0
"""Between rows."""
_SIGN, _RELATION, _NOTE = 14.0, 16.0, 9.0


def lay_out(drawable: Drawable, hints: Hints = NO_HINTS) -> Scene:
    """Decide where everything is drawn.

    Args:
        drawable: A diagram, a sum or an equation.
        hints: What is fixed.

    Returns:
        The picture. The same arguments always give the same one.

    Raises:
        DiagramError: If hints name a node that does not exist, or contradict each other.
    """
    hinted = iter(resolved(hints, _diagrams(drawable)))
    if isinstance(drawable, Equation):
        piece = _equation_piece(drawable, hinted)
    elif isinstance(drawable, Sum):
        piece = _in_rows(_items(drawable, hinted))
    else:
        piece = diagram_piece(drawable, next(hinted))
    return with_sizes(scene_of(piece), hints.sizes)


def _diagrams(drawable: Drawable) -> list[Diagram]:
    """All terms, in the order in which they are drawn."""
    sides = drawable.sides if isinstance(drawable, Equation) else (drawable,)
    return [term for side in sides for _, term in terms(side)]


def scene_of(piece: Piece) -> Scene:
    """The picture of a piece, with some room around it."""
    left, top, right, bottom = piece.bounds()
    moved = piece.moved(PAD - left, PAD - top)
    return Scene(
        right - left + 2 * PAD,
        bottom - top + 2 * PAD,
        tuple(moved.shapes),
        tuple(moved.wires),
        tuple(moved.texts),
    )


def sum_piece(total: Sum) -> Piece:
    """Terms with their signs and coefficients."""
    return _in_rows(_items(total, repeat(Fixed())))


def _items(expression: Expression, hinted: Iterator[Fixed]) -> list[Piece]:
    """Signs and terms, alternating; each pair stays on one row."""
    if isinstance(expression, Diagram):
        return [diagram_piece(expression, next(hinted))]
    if not expression.terms:
        return [_letters("0", "sign", _SIGN)]
    found: list[Piece] = []
    for place, (coefficient, term) in enumerate(expression.terms):
        sign = sign_of(coefficient, first=not place)
        piece = diagram_piece(term, next(hinted))
        found.append(_row([_letters(sign, "sign", _SIGN), piece]) if sign else piece)
    return found


def sign_of(coefficient: float, *, first: bool) -> str:
    """A coefficient before a term, without a one; a plus only between terms.

    >>> sign_of(-0.5, first=False), sign_of(1, first=True), sign_of(2, first=False)
    ('− ½', '', '+ 2')
    """
    minus = "−" if coefficient < 0 else "" if first else "+"
    size = abs(coefficient)
    if size == 1:
        return minus
    return f"{minus} {_number(size)}".strip()


def _number(size: float) -> str:
    simple = {0.5: "½", 0.25: "¼", 0.75: "¾"}
    if size in simple:
        return simple[size]
    fraction = Fraction(size).limit_denominator(99) if size < 1e6 else Fraction(0)
    if fraction.denominator > 1 and abs(float(fraction) - size) < 1e-12 * size:
        return f"{fraction.numerator}/{fraction.denominator}"
    return f"{size:.6g}"


def _letters(text: str, role: str, size: float) -> Piece:
    return Piece(texts=[Text(0.0, 0.0, text, role, size)])  # pyright: ignore[reportArgumentType]


def _row(pieces: Sequence[Piece]) -> Piece:
    row, x = Piece(), 0.0
    for piece in pieces:
        left, _, right, _ = piece.bounds()
        take(row, piece.moved(x - left, -piece.axis))
        x += right - left + SPACE
    return row


def _equation_piece(equation: Equation, hinted: Iterator[Fixed]) -> Piece:
    items: list[Piece] = list(_items(equation.sides[0], hinted))
    indent = 0.0
    notes = equation.notes or ("",) * len(equation.relations)
    rows: list[list[Piece]] = [[]]
    for piece in items:
        _append(rows, piece, 0.0)
    # Rows begin with a relation where they can, and then it stands under the first one.
    indent = min(_width(rows[-1]) + SPACE, WIDEST / 2) if rows[-1] and len(rows) == 1 else 0.0
    for relation, note, side in zip(equation.relations, notes, equation.sides[1:], strict=True):
        pieces = _items(side, hinted)
        head = _row([_relation(relation, note), pieces[0]])
        whole = _width([head, *pieces[1:]])
        if (
            rows[-1]
            and _width(rows[-1]) + SPACE + whole > WIDEST
            and rows[-1] != []
            and _begun(rows)
        ):
            rows.append([])
        _append(rows, head, indent)
        for piece in pieces[1:]:
            _append(rows, piece, indent)
    return _stack_rows(rows, indent)


def _begun(rows: list[list[Piece]]) -> bool:
    return len(rows) > 1 or len(rows[0]) > 1


def _append(rows: list[list[Piece]], piece: Piece, indent: float) -> None:
    start = indent if len(rows) > 1 else 0.0
    if rows[-1] and start + _width(rows[-1]) + SPACE + _width([piece]) > WIDEST:
        rows.append([])
    rows[-1].append(piece)


def _relation(relation: str, note: str) -> Piece:
    piece = _letters(relation, "relation", _RELATION)
    if note:
        piece.texts.append(Text(0.0, -_RELATION * 0.6 - _NOTE * 0.6 - 2, note, "note", _NOTE))
    return piece


def _width(pieces: Sequence[Piece]) -> float:
    wide = [piece.bounds()[2] - piece.bounds()[0] for piece in pieces]
    return sum(wide) + SPACE * (len(wide) - 1)


def _in_rows(pieces: Sequence[Piece]) -> Piece:
    rows: list[list[Piece]] = [[]]
    for piece in pieces:
        _append(rows, piece, 0.0)
    return _stack_rows(rows, 0.0)


def _stack_rows(rows: Sequence[Sequence[Piece]], indent: float) -> Piece:
    whole, y = Piece(), 0.0
    for number, pieces in enumerate(rows):
        row = _row(pieces)
        _, top, _, bottom = row.bounds()
        take(whole, row.moved(indent if number else 0.0, y - top))
        if not number:
            whole.axis = -top if len(rows) == 1 else 0.0
        y += bottom - top + ROWS
    if len(rows) > 1:
        _, top, _, bottom = whole.bounds()
        whole.axis = (top + bottom) / 2
    return whole
