"""Seconds of symbolic work and of layouts at 10, 100 and 300 tensors; contraction's overhead."""

import statistics
from typing import Any

import numpy as np
import opt_einsum

from benchmarks.compare import timed
from benchmarks.wirework.diagrams import KINDS, chain
from wirework import code, copy, einsum, evaluate, isotopic, product
from wirework.derivative import derivative
from wirework.layout import lay_out
from wirework.simplify import simplify

SIZES = (10, 100, 300)
ROUNDS = 3


def run() -> list[dict[str, Any]]:
    """Time everything, the median of a few rounds."""
    return [*_symbolic(), *_layouts()]


def _symbolic() -> list[dict[str, Any]]:
    rows = []
    for n in SIZES:
        one, other = chain(n), chain(n)
        fused = product(copy("x:d y:d"), one, [("y", "i")])
        calls = {
            "build": lambda n=n: chain(n),
            "isotopic": lambda one=one, other=other: isotopic(one, other),
            "simplify": lambda fused=fused: simplify(fused),
            "derivative": lambda one=one, n=n: derivative(one, f"A{n // 2}"),
            "text and code": lambda one=one: (str(one), code(one)),
        }
        for what, call in calls.items():
            rows.append(_row(f"{what}, chain", n, call))
    return rows


def _layouts() -> list[dict[str, Any]]:
    rows = []
    for kind, make in KINDS.items():
        for n in SIZES:
            diagram = make(n)
            rows.append(_row(f"layout, {kind}", n, lambda diagram=diagram: lay_out(diagram)))
    return rows


def _row(what: str, n: int, call: Any) -> dict[str, Any]:
    return {
        "what": what,
        "tensors": n,
        "seconds": statistics.median(timed(call) for _ in range(ROUNDS)),
    }


CONTRACTIONS = {
    "matrices": "ab,bc,cd->ad",
    "attention head": "qd,dh,eh,ke->qk",
    "bilinear layer": "oh,hi,hj,bi,bj->bo",
}


def contraction(rounds: int = 15) -> list[dict[str, Any]]:
    """Compare `evaluate` with `opt_einsum.contract` on the same arrays, in turn."""
    rng = np.random.default_rng(0)
    sizes = dict.fromkeys("abcdeijoqk", 384) | {"h": 64}
    rows = []
    for what, spec in CONTRACTIONS.items():
        operands = spec.partition("->")[0].split(",")
        names = [f"T{number}" for number in range(len(operands))]
        diagram = einsum(spec, *names)
        arrays = {
            name: rng.standard_normal([sizes[index] for index in operand])
            for name, operand in zip(names, operands, strict=True)
        }
        values = list(arrays.values())
        np.testing.assert_allclose(
            evaluate(diagram, arrays), opt_einsum.contract(spec, *values), rtol=1e-9
        )
        ratios = []
        for _ in range(rounds):
            theirs = timed(lambda spec=spec, values=values: opt_einsum.contract(spec, *values))
            ours = timed(lambda diagram=diagram, arrays=arrays: evaluate(diagram, arrays))
            ratios.append(ours / theirs)
        rows.append(
            {
                "what": what,
                "spec": spec,
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
        )
    return rows
