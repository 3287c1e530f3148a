"""A search and a plateau measurement as they come out on a small model."""

import math

from unmask.runs.plateaus import KindCurves, LayerCurves, PlateauResult
from unmask.runs.search import SearchResult
from unmask.steering.compare import Comparison, Effect
from unmask.steering.describe import Description

ALPHAS = tuple(i / 20 for i in range(21))


def search_result(text: str = "a story") -> SearchResult:
    shown = tuple(
        Description(
            index,
            2.0,
            1.5 + 0.1 * index,
            (0.8, 0.5 - 0.1 * index, 0.1),
            (text, "dog"),
            0.97,
            ((text, text + "!"), ("", text)),
        )
        for index in (4, 0, 2)
    )
    return SearchResult(
        model=text,
        method="Melbo",
        settings={"n_vectors": 8, "note": text},
        source=2,
        target=4,
        positions="all",
        within="l2",
        radius=2.0,
        rule="0.5 of the stream's median norm",
        radii={"plateau": 1.25, "dct": f"expected a length, got {text}"},
        norm=4.0,
        n_vectors=8,
        n_prompts=3,
        seconds=12.0,
        shown=shown,
        prompts=(text, "Once"),
        cosines=((1.0, -0.25, 0.5), (-0.25, 1.0, 0.0), (0.5, 0.0, 1.0)),
        file="directions.safetensors",
    )


def plateau_result(text: str = "tiny") -> PlateauResult:
    def kind(name: str, power: float) -> KindCurves:
        curve = tuple(alpha**power for alpha in ALPHAS)
        shape = {
            part: (value, value - 0.1, value + 0.1)
            for part, value in (("plateau", 0.3), ("boundary", 0.6), ("sharpness", 2.0))
        }
        outs = ("kl", "js", "l2")
        return KindCurves(
            name,
            3.0,
            11.0,
            dict.fromkeys(outs, curve),
            dict.fromkeys(outs, 1.25),
            dict.fromkeys(outs, shape),
            (2.1, 3.4),
        )

    effects = tuple(Effect(1.0 + i, 2.0 + i, math.cos(i)) for i in range(4))
    compared = Comparison(
        0.5,
        {"finite": effects, "gradient": effects[:2], "random": effects[:1]},
        {"finite": 0.75, "gradient": 1.0, "random": float("nan")},
        {"finite": 0.25, "gradient": 0.0, "random": 0.0},
        12,
        {"gradient": 0.5, "random": 0.75, "other seed": 0.25},
    )
    layer = LayerCurves(
        1,
        4.0,
        (kind("others", 3.0), kind("isotropic", 1.0), kind(text, 2.0)),
        {"plateau": 1.5, "dct": f"expected a length, got {text}"},
        (compared,),
    )
    return PlateauResult(text, 6, ALPHAS, (layer,), 3.0)
