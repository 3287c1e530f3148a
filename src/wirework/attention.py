"""Attention as a diagram: a softmax box around the scaled product of queries and keys."""

from collections.abc import Sequence

from wirework.algebra import add, apply, product, rename, scale, trace, transpose
from wirework.derivative import ones
from wirework.diagram import Copy, Expression, Leg, copy, of_node
from wirework.errors import DiagramError


def attention(
    queries: Expression,
    keys: Expression,
    values: Expression,
    *,
    factor: float | None = None,
    mask: Expression | None = None,
) -> Expression:
    """Mix values by how much keys match queries.

    Legs are known by their names: those of queries and keys alone, as ``d_head``, are contracted;
    those of keys and values alone, as ``key``, are what softmax runs along; those of all three, as
    ``batch head``, stay apart.

    Args:
        queries: ``"batch head query d_head"``, in any order and with any names.
        keys: ``"batch head key d_head"``.
        values: ``"batch head key d_value"``.
        factor: Of the scores; None for one over the root of the size of ``d_head``.
        mask: Added to the scores, with some of their legs: 0 where a query may look, minus infinity
            where not. Each query needs a key that it may look at.

    Returns:
        Legs of the queries without ``d_head``, and then ``d_value``.

    Raises:
        DiagramError: If queries and keys, or keys and values, have no such leg in common, or the
            mask has others than the scores.
    """
    q, k, v = ([leg.name for leg in one.legs] for one in (queries, keys, values))
    matched = [name for name in q if name in k and name not in v]
    along = [name for name in k if name in v and name not in q]
    if not matched or not along:
        raise DiagramError(
            f"expected a leg of queries and keys alone and one of keys and values alone, got {q}, "
            f"{k} and {v}. Legs of all three are kept apart; rename positions: x(pos='key')."
        )
    scores = contracted(queries, keys, matched)
    if factor is None:
        for leg in queries.legs:
            if leg.name in matched:
                loop = trace(copy(f"a:{leg.dim} b:{leg.dim}"), "a", "b")
                scores = product(scores, apply("rsqrt", loop))
    elif factor != 1:
        scores = scale(scores, factor)
    if mask is not None:
        scores = add(scores, _spread(mask, scores.legs))
    return contracted(apply("softmax", scores, " ".join(along)), values, along)


def contracted(a: Expression, b: Expression, along: Sequence[str]) -> Expression:
    """Sum over some legs of the same name; other legs of the same name are one axis.

    Legs are those of `a`, and then those of `b` that `a` has not.
    """
    shared = [leg for leg in a.legs if leg.name in {one.name for one in b.legs}]
    names = {leg.name: f"{leg.name} of b" for leg in shared}
    order = [leg.name for leg in a.legs if leg.name not in along]
    order += [leg.name for leg in b.legs if leg.name not in names]
    joined = product(a, rename(b, names), [(name, names[name]) for name in along])
    for leg in shared:
        if leg.name not in along:
            dot = of_node(Copy(tuple(Leg(f"{leg.name} {n}", leg.dim) for n in range(3))))
            pairs = [(leg.name, f"{leg.name} 0"), (names[leg.name], f"{leg.name} 1")]
            joined = rename(product(joined, dot, pairs), {f"{leg.name} 2": leg.name})
    return transpose(joined, order)


def _spread(mask: Expression, legs: Sequence[Leg]) -> Expression:
    """The same along all legs that the mask has not."""
    names = {leg.name for leg in mask.legs}
    if extra := names - {leg.name for leg in legs}:
        raise DiagramError(
            f"expected a mask with legs of the scores, {[leg.name for leg in legs]}, got "
            f"{sorted(extra)[0]!r} too. Name its legs as those of queries and keys."
        )
    return product(mask, ones([leg for leg in legs if leg.name not in names]))
