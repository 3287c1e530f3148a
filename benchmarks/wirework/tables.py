"""The figures that were asked for as rows, and all of them as tables in the docs."""

from pathlib import Path
from typing import Any

_MARKS = "<!-- {} -->", "<!-- end of {} -->"
Records = list[dict[str, Any]]


def rows(parts: dict[str, Any]) -> Records:
    """Rows of name, figure, target and whether it was met."""
    makers = {
        "contraction": _contraction,
        "times": _times,
        "paths": _paths,
        "quality": _quality,
        "tinystories": _tinystories,
    }
    return [row for name, make in makers.items() if name in parts for row in make(parts[name])]


def _contraction(records: Records) -> Records:
    return [
        _row(f"evaluate over opt_einsum, {one['what']}", one["ratio"], "at most 1.1", 1.1)
        for one in records
    ]


def _times(records: Records) -> Records:
    found = []
    for one in records:
        layout = one["what"].startswith("layout")
        name = f"{one['what']}, {one['tensors']} tensors, seconds"
        found.append(_row(name, one["seconds"], *(("under 2", 2.0) if layout else (None, None))))
    return found


def _paths(one: dict[str, Any]) -> Records:
    name = f"path expansion, {one['terms']} terms of {one['model']}, seconds"
    return [_row(name, one["seconds"], "under 60", 60.0)]


def _quality(records: Records) -> Records:
    found = []
    for one in records:
        ours = one["layout"].startswith("wirework")
        name = f"overlaps, {one['layout']}, {one['drawings']} drawings"
        found.append(_row(name, one["overlaps"], *(("0", 0.0) if ours else (None, None))))
    return found


def _tinystories(one: dict[str, Any]) -> Records:
    name = f"largest difference between the diagram's logits and those of {one['model']}"
    return [_row(name, one["error"], "at most 1e-4", 1e-4)]


def _row(name: str, figure: float, target: str | None, limit: float | None) -> dict[str, Any]:
    met = None if limit is None else figure <= limit
    return {"name": name, "figure": figure, "target": target, "met": met}


def write(page: Path, parts: dict[str, Any]) -> None:
    """Put the tables into the page, between its marks."""
    text = page.read_text()
    makers = {
        "quality": _quality_table,
        "times": _times_table,
        "contraction": _contraction_table,
        "tinystories": _tinystories_text,
    }
    for name, make in makers.items():
        if name in parts:
            start, end = (mark.format(name) for mark in _MARKS)
            before, after = text.index(start) + len(start), text.index(end)
            text = f"{text[:before]}\n{make(parts[name])}\n{text[after:]}"
    page.write_text(text)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _quality_table(records: Records) -> str:
    head = ["layout", "drawings", "overlaps", "crossings", "bends", "wire, points", "symmetry"]
    return _table(
        head,
        [
            [
                one["layout"],
                str(one["drawings"]),
                str(one["overlaps"]),
                str(one["crossings"]),
                str(one["bends"]),
                f"{one['wire_length']:,.0f}",
                f"{one['symmetry']:.2f}",
            ]
            for one in records
        ],
    )


def _times_table(records: Records) -> str:
    sizes = sorted({one["tensors"] for one in records})
    seconds = {(one["what"], one["tensors"]): one["seconds"] for one in records}
    lines = [
        [what, *(f"{1000 * seconds[what, n]:.1f}" for n in sizes)]
        for what in dict.fromkeys(one["what"] for one in records)
    ]
    return _table(["milliseconds", *(f"{n} tensors" for n in sizes)], lines)


def _contraction_table(records: Records) -> str:
    lines = [
        [one["what"], f"`{one['spec']}`", f"{one['ratio']:.3f}", f"{one['lowest']:.2f} to "
         f"{one['highest']:.2f}"]
        for one in records
    ]  # fmt: skip
    return _table(["workload", "einsum", "ours over opt_einsum", "lowest to highest"], lines)


def _tinystories_text(one: dict[str, Any]) -> str:
    terms = [
        [", ".join(f"{layer}.{head}" for layer, head in heads) or "none: the direct path"]
        + [f"{norm:,.0f}", f"{share:.4f}"]
        for heads, norm, share in one["terms"]
    ]
    strong, near = one["directions"], one["induction"]
    tokens = [
        [f"{found['value']:.2f}", _tokens(found["reads"]), _tokens(found["writes"])]
        for found in strong["found"]
    ]
    layer, head = near["head"]
    before = near["previous_token"]
    return "\n".join(
        (
            f"Its logits, computed from diagrams alone, differ from the model's by at most "
            f"{one['error']:.1e} (the largest is {one['largest_logit']:.1f}). Of the "
            f"{one['n_terms']:,} paths through at most two heads, with norm factors frozen on one "
            "story, the strongest:",
            "",
            _table(["heads", "norm", "share of the squares"], terms),
            "",
            "![The three strongest terms](figures/tinystories-paths.svg)",
            "",
            f"What head {'.'.join(map(str, strong['head']))} reads and writes, by the singular "
            "directions of its OV circuit:",
            "",
            _table(["value", "reads", "writes"], tokens),
            "",
            f"The head nearest to an induction head is {layer}.{head}: on random texts that are "
            f"repeated it attends to the token after the first occurrence with "
            f"{near['prefix_matching']:.3f}, where spreading evenly gives {near['chance']:.3f}; "
            f"the second copy costs {near['gain_nats']:.2f} nats a token less. That is a trace of "
            f"the behaviour and no real induction head. The strongest previous-token head is "
            f"{before[0]}.{before[1]}, with {before[2]:.2f}.",
            "",
            "![Its QK circuit](figures/tinystories-head-qk.svg)",
            "",
            "![Its OV circuit](figures/tinystories-head-ov.svg)",
        )
    )


def _tokens(words: list[str]) -> str:
    return ", ".join(f"`{word.replace('|', '/').replace('`', '')}`" for word in words)
