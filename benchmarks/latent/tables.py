"""The figures that were asked for as rows, and all figures as tables in the docs."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.latent.searches import ORGANISMS

_MARKS = "<!-- {} -->", "<!-- end of {} -->"
Records = list[dict[str, Any]]


def rows(parts: dict[str, Records]) -> Records:
    """Rows of workload, figure, target and whether it was met."""
    found: Records = []
    for one in parts.get("speed", []):
        name = f"{one['workload']}, against {one['peer']}"
        row = {"workload": name, "ratio": one["ratio_median"], "target": one["target"]}
        found.append(row | {"lowest": one["ratio_min"], "highest": one["ratio_max"]})
        found[-1]["met"] = one["met"]
    if searched := parts.get("search"):
        for search in dict.fromkeys(one["case"]["search"] for one in searched):
            mine = [one for one in searched if one["case"]["search"] == search]
            for role, hidden in (("organisms", True), ("twins", False)):
                some = [one for one in mine if one["member"].endswith("-twin") != hidden]
                names = {one["member"] for one in some}
                out = {one["member"] for one in some if one["out"]}
                found.append(
                    {
                        "workload": f"{search}: {role} with a gain, of {len(names)}, at any length",
                        "figure": len(out),
                        "target": None,
                        "met": None,
                    }
                )
    found += _mean_missed(parts.get("compare", []))
    return found


def _mean_missed(records: Records) -> Records:
    """Share of next tokens missed, over models and blocks, for each length and kind."""
    found: Records = []
    for share in dict.fromkeys(one["share"] for one in records):
        some = [one["missed"] for one in records if one["share"] == share]
        for kind in some[0]:
            mean = sum(missed[kind] for missed in some) / len(some)
            name = f"next tokens found at {share:g} norms, mean share missed by {kind}"
            found.append({"workload": name, "figure": mean, "target": None, "met": None})
    return found


def write(page: Path, results: dict[str, Any]) -> None:
    """Put the tables into the page, between its marks."""
    parts, text = results["parts"], page.read_text()
    makers = {
        "speed": _speed,
        "search": _search,
        "worst": _worst,
        "manifold": _manifold,
        "compare": _compare,
    }
    for name, make in makers.items():
        if name not in parts:
            continue
        start, end = (mark.format(name) for mark in _MARKS)
        before, after = text.index(start) + len(start), text.index(end)
        text = f"{text[:before]}\n{make(parts[name])}\n{text[after:]}"
    page.write_text(text)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _speed(records: Records) -> str:
    head = ["workload", "peer", "times as fast", "lowest to highest", "asked for"]
    lines = [
        [
            one["workload"],
            one["peer"],
            f"{one['ratio_median']:.2f}",
            f"{one['ratio_min']:.2f} to {one['ratio_max']:.2f}",
            f"{one['target']:g}" + ("" if one["met"] else " (missed)"),
        ]
        for one in records
    ]
    return _table(head, lines)


def _search(records: Records) -> str:
    by_case: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(dict)
    for one in records:
        case = one["case"]
        key = (case["search"], case["within"], case["positions"], case["radius"])
        by_case[key][one["member"]] = one
    head = ["search", "bound", "tokens", "length", *ORGANISMS, "out", "largest on a twin"]
    lines = []
    for (search, within, positions, radius), found in by_case.items():
        mine = [found[name] for name in ORGANISMS]
        twins = [found[f"{name}-twin"] for name in ORGANISMS]
        damage = sum(one["mean_damage_nats"] for one in mine) / len(mine)
        seconds = sum(one["search_seconds"] for one in mine) / len(mine)
        lines.append(
            [
                search,
                within,
                positions,
                f"{radius:g}",
                *(f"{one['gain']:+.2f}{'*' if one['out'] else ''}" for one in mine),
                str(sum(one["out"] for one in mine)),
                f"{max(one['gain'] for one in twins):+.2f}",
                f"{damage:.2g}",
                f"{seconds:.1f}",
            ]
        )
    return _table([*head, "damage", "s"], lines)


def _worst(records: Records) -> str:
    head = ["task", "model", "hides it", "median radius", "twin's", "nearer less farther", "p"]
    lines = [
        [
            one["task"],
            one["member"],
            "yes" if one["hides"] else "no",
            *(f"{median:.3f}" for median in one["medians"]),
            f"{one['gain']:+.2f}",
            f"{one['p']:.2g}",
            f"{one['seconds']:.0f}",
        ]
        for one in records
    ]
    return _table([*head, "s"], lines)


def _manifold(records: Records) -> str:
    head = ["model", "search", "bound", "tokens", "length", "damage", "vectors that change tokens"]
    lines = [
        [
            one["model"],
            one["search"],
            one["within"],
            one["positions"],
            f"{one['radius']:.2f}",
            f"{one['damage_nats']:.2g}",
            f"{one['changing']:.0%}",
            f"{one['nats_per_token']:.2f} ({one['nats_unedited']:.2f})",
            "" if one["gain"] is None else f"{one['gain']:+.2f}" + ("*" if one["p"] < 0.01 else ""),
        ]
        for one in records
    ]
    return _table([*head, "nats per token (unedited)", "gain"], lines)


def _compare(records: Records) -> str:
    head = ["model", "block", "length", "rank correlation: found", "gradient", "random", "flips"]
    lines = [
        [
            one["model"],
            str(one["layer"]),
            f"{one['share']:g}",
            *(f"{one['correlations'][kind]:.2f}" for kind in ("finite", "gradient", "random")),
            f"{max(one['flips'].values()):.0%}",
            str(one["n_behaviours"]),
            *(f"{one['missed'][kind]:.0%}" for kind in ("gradient", "random", "other seed")),
            f"{one['shapes']['others']['boundary'][0]:.2f}",
            f"{one['shapes']['isotropic']['boundary'][0]:.2f}",
            *(_in_norms(one["radii"][rule], one["norm"]) for rule in ("plateau", "dct")),
        ]
        for one in records
    ]
    more = ["next tokens found", "missed by gradient", "by random", "by another seed"]
    ends = ["boundary towards others", "isotropic", "length by plateau", "by DCT's rule"]
    return _table([*head, *more, *ends], lines)


def _in_norms(radius: float | str, norm: float) -> str:
    return "none" if isinstance(radius, str) else f"{radius / norm:.2f}"
