"""A search for steering vectors as one call: what was found, where, and what the model then says.

Results are plain values, so that they can be stored and shown without the model.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from unmask import steering
from unmask.arms.latent_directions import LatentDirections, density_of
from unmask.edits import Positions
from unmask.errors import SettingError
from unmask.models.batch import TokenRow
from unmask.models.rows import Row
from unmask.models.subject import Subject
from unmask.runs.prompts import token_rows
from unmask.steering.describe import Description, describe, most_different, similarities

Radius = float | Literal["plateau", "dct"]
"""A share of the stream's median norm, or a rule: what just leaves the activation plateau, or where
the response is half non-linear."""

N_SHOWN = 10
N_CONTINUED = 3
N_SEARCHED = 16


@dataclass(frozen=True)
class SearchResult:
    """Directions that were found, and what they do. Texts are the model's, and hostile."""

    model: str
    method: str
    settings: Mapping[str, Any]
    source: int
    """The directions are added to what enters this block."""
    target: int
    """The change was read at what enters this block."""
    positions: str
    within: str
    """What bounds the vectors, as `steering.Within`."""
    radius: float
    """Length of the vectors in units of the stream; its root mean square if `whitened`."""
    rule: str
    """How the radius was chosen."""
    radii: Mapping[str, float | str]
    """What each rule gives here, in units of the stream; a message where it gives nothing."""
    norm: float
    """Median norm of the activations to which directions are added."""
    n_vectors: int
    n_prompts: int
    seconds: float
    """Of the search alone."""
    shown: tuple[Description, ...]
    """The most different directions."""
    prompts: tuple[str, ...]
    """Those that were continued."""
    cosines: tuple[tuple[float, ...], ...]
    """Of the mean changes of the directions shown."""
    file: str
    """Where all directions are, beside this result."""

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def search(
    subject: Subject,
    rows: Sequence[Row],
    method: steering.Search,
    *,
    source: int | None = None,
    target: int | None = None,
    radius: Radius = 0.5,
    positions: Positions = "all",
    within: steering.Within = "l2",
    n_read: int | None = 3,
    max_new_tokens: int = 48,
    out: Path = Path("runs/search"),
) -> SearchResult:
    """Search for steering vectors without supervision, and describe the most different ones.

    Args:
        subject: The model.
        rows: Prompts; the first 16 are searched over, the first 3 are continued.
        method: Such as `steering.Melbo()` or `steering.Dct()`.
        source: Block whose input is changed; by default at a quarter of the depth.
        target: Block at whose input the change is read; by default at three quarters.
        radius: Share of the stream's median norm, or a rule.
        positions: To which tokens the vectors are added.
        within: What bounds them besides.
        n_read: At how many of the last tokens the change is read; None for all.
        max_new_tokens: Of each continuation that is shown.
        out: Folder for the directions (``directions.safetensors``).

    Raises:
        SettingError: If a setting is out of range, or a rule gives no radius here.
        SubjectError: If a prompt is longer than the model's context.
    """
    source, target = blocks(subject, source, target)
    prompts = token_rows(subject, rows)
    searched = prompts[:N_SEARCHED]
    density = density_of(subject, prompts, source)
    bound = steering.Bound(within, density)
    response = bound.response(subject, searched, source, target, positions=positions, n_read=n_read)
    norm = steering.typical_norm(response)
    plain = steering.Response(subject, searched, source, target, positions=positions, n_read=n_read)
    radii = radii_by_rule(subject, prompts, plain)
    length = _length(radius, radii, norm)
    began = time.perf_counter()
    vectors = method(response, bound.radius(length))
    seconds = time.perf_counter() - began
    chosen = most_different(plain, vectors, N_SHOWN)
    shown = describe(
        subject,
        searched,
        plain,
        vectors[chosen],
        edits=[bound.edit(source, vector, positions) for vector in vectors[chosen]],
        percentile=density.percentile,
        rows=rows[:N_CONTINUED],
        max_new_tokens=max_new_tokens,
    )
    name, settings = type(method).__name__, dict(vars(method))
    provenance = {"method": name, "settings": settings, "radius": length, "target": target}
    path = _save(subject, vectors, source, positions, {**provenance, "within": within}, out)
    cosines = similarities(plain, vectors[chosen]).tolist()
    return SearchResult(
        model=subject.name,
        method=name,
        settings=settings,
        source=source,
        target=target,
        positions=positions,
        within=within,
        radius=length,
        rule=radius if isinstance(radius, str) else f"{radius:g} of the stream's median norm",
        radii=radii,
        norm=norm,
        n_vectors=len(vectors),
        n_prompts=len(searched),
        seconds=seconds,
        shown=tuple(replace(one, index=i) for one, i in zip(shown, chosen, strict=True)),
        prompts=tuple(one.text for one in rows[:N_CONTINUED]),
        cosines=tuple(tuple(line) for line in cosines),
        file=path.name,
    )


def _save(
    subject: Subject,
    vectors: Float[Tensor, "vectors d_model"],
    source: int,
    positions: Positions,
    provenance: Mapping[str, Any],
    out: Path,
) -> Path:
    path = out / "directions.safetensors"
    of = {"model": subject.name, "weights_hash": subject.provenance["weights_hash"]}
    steering.Directions(vectors, source, positions, {**provenance, **of}).save(path)
    return path


def radii_by_rule(
    subject: Subject, prompts: Sequence[TokenRow], response: steering.Response
) -> dict[str, float | str]:
    """What each rule gives for a response, in units of the stream; a message where it cannot."""

    def from_plateau() -> float:
        acts = steering.last_activations(subject, prompts, response.source)
        paths = {"others": steering.towards_others(acts, min(4, len(acts) - 1))}
        curves = steering.measure_curves(subject, prompts, response.source, paths)
        return steering.plateau_radius(curves)

    return {
        "plateau": or_message(from_plateau),
        "dct": or_message(lambda: steering.dct_radius(response)),
    }


def or_message(call: Callable[[], float]) -> float | str:
    """A number, or why there is none."""
    try:
        return call()
    except SettingError as error:
        return str(error)


def blocks(subject: Subject, source: int | None, target: int | None) -> tuple[int, int]:
    """Choose source and target where they are not given.

    Raises:
        SettingError: If they are not blocks of the model in this order.
    """
    first = LatentDirections.source(subject) if source is None else source
    last = max(first + 1, LatentDirections.target(subject)) if target is None else target
    if not 0 <= first < last <= subject.n_layers:
        raise SettingError(
            f"expected 0 <= source < target <= {subject.n_layers} (the model's number of blocks), "
            f"got {first} and {last}. Vectors are added to what enters the source, and read at "
            "what enters the target."
        )
    return first, last


def _length(radius: Radius, radii: Mapping[str, float | str], norm: float) -> float:
    if not isinstance(radius, str):
        return radius * norm
    if radius not in radii:
        names = ", ".join(get_args(get_args(Radius)[1]))
        raise SettingError(
            f"expected a radius of {names} or a number, got {radius!r}. A number is a share of the "
            "stream's median norm; 0.5 is a good start."
        )
    found = radii[radius]
    if isinstance(found, str):
        raise SettingError(found)
    return found
