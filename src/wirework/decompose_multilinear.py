"""Decompositions with a factor for each leg: CP, a sum of outer products, and Tucker, with a core.

Both are found by iteration from a start that is near, and may end in a local optimum; the result
says whether the iteration came to rest, and what error it left.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from wirework.diagram import Expression, Tensor
from wirework.errors import DiagramError
from wirework.factors import (
    Decomposed,
    allowed,
    decomposed,
    find,
    free,
    kept,
    labels,
    network,
    new_bond,
    spectrum,
    unfolded,
)
from wirework.functions import Array, library, permute
from wirework.values import Arrays


def tucker(
    expression: Expression,
    name: str,
    *,
    arrays: Arrays,
    rank: int | Mapping[str, int] | None = None,
    error: float | None = None,
    max_sweeps: int = 50,
    tolerance: float = 1e-8,
) -> Decomposed:
    """Split a tensor into a small core and an isometry for each leg.

    Args:
        expression: Where the tensor stands.
        name: Of the tensor.
        arrays: By name.
        rank: Most that each bond keeps; or by leg, where legs that are not named keep all.
        error: Relative Frobenius error that is allowed for the whole.
        max_sweeps: Of the iteration after the first guess (HOSVD); none with 0.
        tolerance: The iteration (HOOI) is at rest when a sweep changes the relative error by less.

    Raises:
        DiagramError: As in `wirework.svd`.
        ValueMissingError: If there is no array for the tensor.

    Source: De Lathauwer, De Moor and Vandewalle (2000), HOSVD, whose squared error is at most n
    times the best for n legs; and their HOOI, which only lowers it.
    """
    node, array = find(expression, name, arrays)
    marks = labels(node)
    ranks = rank if isinstance(rank, Mapping) else dict.fromkeys(marks, rank)
    if unknown := set(ranks) - set(marks):
        raise DiagramError(
            f"expected ranks for legs of {node}, got one for {sorted(unknown)[0]!r}. Legs are "
            "named as where the tensor stands first."
        )
    lost = allowed(array, rank, error, array.ndim)
    factors: list[Array] = []
    for axis, mark in enumerate(marks):
        u, s, _ = library(array).linalg.svd(unfolded(array, (axis,)), full_matrices=False)
        wanted = ranks.get(mark)
        factors.append(u[:, : kept(s, node, None if wanted is None else min(wanted, len(s)), lost)])
    truncated = any(one.shape[0] > one.shape[1] for one in factors)
    sweeps, converged = 0, True
    if truncated and max_sweeps:
        factors, sweeps, converged = _hooi(array, factors, max_sweeps, tolerance)
    core = _projected(array, factors, range(array.ndim))
    bonds = [new_bond(expression, f"{name}.bond{axis + 1}") for axis in range(array.ndim)]
    names = [free(f"{name}.{axis + 1}", arrays) for axis in range(array.ndim)]
    middle = free(f"{name}.core", arrays)
    inner = [f"bond {mark}" for mark in marks]
    parts = [(Tensor(middle, tuple(bonds)), inner)]
    for one, leg, bond, ends in zip(
        names, node.legs, bonds, zip(marks, inner, strict=True), strict=True
    ):
        parts.append((Tensor(one, (leg, bond), isometry=(1,)), list(ends)))
    new = {**dict(zip(names, factors, strict=True)), middle: core}
    return decomposed(
        expression,
        node,
        network(parts, marks),
        {**arrays, **new},
        truncated=truncated,
        converged=converged,
        sweeps=sweeps,
    )


def _hooi(
    array: Array, factors: list[Array], max_sweeps: int, tolerance: float
) -> tuple[list[Array], int, bool]:
    xp = library(array)
    whole = float(xp.linalg.norm(array.reshape(-1)))
    before = 0.0
    for sweep in range(1, max_sweeps + 1):
        for axis, factor in enumerate(factors):
            others = [other for other in range(array.ndim) if other != axis]
            near = unfolded(_projected(array, factors, others), (axis,))
            u = xp.linalg.svd(near, full_matrices=False)[0]
            factors[axis] = u[:, : factor.shape[1]] if u.shape[1] >= factor.shape[1] else factor
        inside = _projected(array, factors, range(array.ndim))
        held = float(xp.linalg.norm(inside.reshape(-1))) / whole
        # The squared error is 1 - held^2.
        if sweep > 1 and held**2 - before**2 < tolerance:
            return factors, sweep, True
        before = held
    return factors, max_sweeps, False


def _projected(array: Array, factors: Sequence[Array], along: Sequence[int]) -> Array:
    """Onto what the factors span, in their coordinates."""
    xp = library(array)
    for axis in along:
        turned = xp.tensordot(array, factors[axis].conj(), ([axis], [0]))
        order = list(range(axis)) + [array.ndim - 1] + list(range(axis, array.ndim - 1))
        array = permute(turned, order)
    return array


def cp(
    expression: Expression,
    name: str,
    *,
    arrays: Arrays,
    rank: int,
    rng: np.random.Generator | None = None,
    max_sweeps: int = 500,
    tolerance: float = 1e-8,
) -> Decomposed:
    """Write a tensor as a weighted sum of outer products, by alternating least squares.

    Each factor has columns of length one, joined by one copy that also holds the weights, in
    falling order.

    Args:
        expression: Where the tensor stands.
        name: Of the tensor.
        arrays: By name.
        rank: Number of outer products; it may exceed every dimension.
        rng: What the first factors are drawn from; another may find a better fit. None: start from
            the leading singular vectors of each leg.
        max_sweeps: After which the search is given up, and `Decomposed.converged` is False.
        tolerance: It is at rest when a sweep changes the relative error by less.

    Raises:
        DiagramError: If the rank is not positive, or the array is zero, not finite, or a vector.
        ValueMissingError: If there is no array for the tensor.

    Source: Carroll and Chang (1970); Harshman (1970); Kolda and Bader (2009), section 3.4.
    """
    node, array = find(expression, name, arrays)
    if rank < 1 or array.ndim < 2:
        raise DiagramError(
            f"expected a positive rank and two legs at least, got rank {rank} for {node}. The rank "
            "is the number of outer products in the sum."
        )
    factors = [_start(array, axis, rank, rng) for axis in range(array.ndim)]
    factors, weights, sweeps, converged = _als(array, factors, max_sweeps, tolerance)
    order = library(array).argsort(-abs(weights))
    bond = new_bond(expression, f"{name}.bond")
    names = [free(f"{name}.{axis + 1}", arrays) for axis in range(array.ndim)]
    middle = free(f"{name}.L", arrays)
    marks = labels(node)
    inner = [f"bond {mark}" for mark in marks]
    parts = [
        (Tensor(one, (leg, bond)), ends)
        for one, leg, ends in zip(names, node.legs, zip(marks, inner, strict=True), strict=True)
    ]
    new = {**{n: one[:, order] for n, one in zip(names, factors, strict=True)}}
    return decomposed(
        expression,
        node,
        network([*parts, *spectrum(middle, bond, inner)], marks),
        {**arrays, **new, middle: weights[order]},
        truncated=True,
        converged=converged,
        sweeps=sweeps,
    )


def _als(
    array: Array, factors: list[Array], max_sweeps: int, tolerance: float
) -> tuple[list[Array], Array, int, bool]:
    xp = library(array)
    whole = float(xp.linalg.norm(array.reshape(-1)))
    before = float("inf")
    weights = xp.ones_like(factors[0][0])
    for sweep in range(1, max_sweeps + 1):
        for axis in range(array.ndim):
            others = [factor for place, factor in enumerate(factors) if place != axis]
            rows = _outer(others)
            # Least squares by the Gram matrix of all other factors at once.
            gram = xp.ones_like(others[0].T.conj() @ others[0])
            for one in others:
                gram = gram * (one.T.conj() @ one)
            target = unfolded(array, (axis,)) @ rows.conj()
            solved = target @ xp.linalg.pinv(gram, hermitian=True).T
            weights = (abs(solved) ** 2).sum(0) ** 0.5
            factors[axis] = solved / (weights + (weights == 0))
        last = factors[-1] * weights
        near = _outer([*factors[:-1], last]).sum(1).reshape(array.shape)
        error = float(xp.linalg.norm((array - near).reshape(-1))) / whole
        if abs(before - error) < tolerance:
            return factors, weights, sweep, True
        before = error
    return factors, weights, max_sweeps, False


def _outer(factors: Sequence[Array]) -> Array:
    """Outer products of columns, one for each, as rows of all indices (Khatri-Rao)."""
    found = factors[0]
    for factor in factors[1:]:
        found = (found[:, None, :] * factor[None, :, :]).reshape(-1, found.shape[1])
    return found


def _start(array: Array, axis: int, rank: int, rng: np.random.Generator | None) -> Array:
    """Drawn columns, or singular vectors with drawn ones after them if they are too few."""
    xp = library(array)
    drawn = (rng or np.random.default_rng(0)).standard_normal((array.shape[axis], rank))
    start = xp.asarray(drawn).astype(array.dtype) if xp is np else xp.as_tensor(drawn).to(array)
    if rng is None:
        u = xp.linalg.svd(unfolded(array, (axis,)), full_matrices=False)[0][:, :rank]
        start[:, : u.shape[1]] = u
    return start
