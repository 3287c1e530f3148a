"""Simplify by named rules until none applies, and show the steps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from wirework.compare import collect
from wirework.diagram import Box, Diagram, Expression, Sum, terms
from wirework.rules.conjugation import conjugation
from wirework.rules.delta import delta
from wirework.rules.fusion import fusion
from wirework.rules.identity import identity
from wirework.rules.orthogonality import orthogonality
from wirework.rules.sums import sums
from wirework.rules.transposition import transposition
from wirework.rules.zero import zero

Rule = Callable[[Diagram], Expression | None]
"""A simpler expression of the same value, or None."""

RULES: Mapping[str, Rule] = {
    "zero": zero,
    "conjugation": conjugation,
    "orthogonality": orthogonality,
    "transposition": transposition,
    "delta": delta,
    "fusion": fusion,
    "sums": sums,
    "identity": identity,
}
"""In the order in which they are tried."""


def simplify(expression: Expression, rules: Mapping[str, Rule] = RULES) -> Expression:
    """Apply rules wherever they apply, then add up equal terms."""
    for _, simpler in steps(expression, rules):
        expression = simpler
    return expression


def steps(
    expression: Expression, rules: Mapping[str, Rule] = RULES
) -> Iterator[tuple[str, Expression]]:
    """Simplify step by step: the name of a rule, and what the expression is after it.

    The last step, "sum", adds up equal terms, if there are any.
    """
    while True:
        found = _once(expression, rules)
        if found is None:
            break
        name, expression = found
        yield name, expression
    collected = collect(expression)
    if len(terms(collected)) < len(terms(expression)):
        yield "sum", collected


def _once(expression: Expression, rules: Mapping[str, Rule]) -> tuple[str, Expression] | None:
    """The first rule that applies, at the first place where it does."""
    for place, (coefficient, term) in enumerate(terms(expression)):
        found = _once_in(term, rules)
        if found is None:
            continue
        name, simpler = found
        if isinstance(expression, Diagram):
            return name, simpler
        new = tuple((coefficient * c, d) for c, d in terms(simpler))
        before, after = expression.terms[:place], expression.terms[place + 1 :]
        return name, Sum((*before, *new, *after), expression.legs)
    return None


def _once_in(term: Diagram, rules: Mapping[str, Rule]) -> tuple[str, Expression] | None:
    for name, rule in rules.items():
        if (simpler := rule(term)) is not None:
            return name, simpler
    for number, node in enumerate(term.nodes):
        if isinstance(node, Box) and (found := _once(node.inner, rules)) is not None:
            name, inner = found
            nodes = list(term.nodes)
            nodes[number] = replace(node, inner=inner)
            return name, replace(term, nodes=tuple(nodes))
    return None
