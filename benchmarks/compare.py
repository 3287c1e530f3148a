"""Time ours and a peer in turn, round by round: a ratio holds where the machine drifts."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One workload against one peer."""

    workload: str
    peer: str
    ratio_median: float
    """How many times as long the peer takes; for an overhead, ours over the peer's."""
    ratio_min: float
    ratio_max: float
    target: float | None
    """What is asked for; None where nothing is."""
    met: bool | None
    seconds: float
    """Median of ours."""

    def __str__(self) -> str:
        """Format as one line of a table."""
        target = "" if self.target is None else f"{self.target:g}"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return (
            f"{self.workload:<58} {self.peer:<42} {self.ratio_median:8.2f} "
            f"[{self.ratio_min:.2f}, {self.ratio_max:.2f}] {target:>6} {met:>4}"
        )


def row(
    workload: str,
    peer: str,
    ratios: list[float],
    seconds: list[float],
    target: float | None = None,
    at_most: bool = False,
) -> Row:
    """Summarise the ratios of several rounds."""
    median = statistics.median(ratios)
    met = None if target is None else (median <= target if at_most else median >= target)
    return Row(
        workload, peer, median, min(ratios), max(ratios), target, met, statistics.median(seconds)
    )


def timed(call: Callable[[], object]) -> float:
    """Time one call, in seconds, to the end of what it asked of a GPU."""
    gc.collect()
    _finish()
    began = time.perf_counter()
    call()
    _finish()
    return time.perf_counter() - began


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare(
    workload: str,
    ours: Callable[[], object],
    peers: dict[str, tuple[Callable[[], object], float | None]],
    rounds: int,
) -> list[Row]:
    """Compare ours with each peer's; the first round warms up.

    Args:
        workload: Its name.
        ours: What is measured.
        peers: For each, its call and the ratio that is asked for.
        rounds: Number of rounds that count.
    """
    our_seconds: list[float] = []
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    for number in range(rounds + 1):
        mine = timed(ours)
        theirs = {peer: timed(call) for peer, (call, _) in peers.items()}
        if number:
            our_seconds.append(mine)
            for peer, seconds in theirs.items():
                ratios[peer].append(seconds / mine)
    return [
        row(workload, peer, ratios[peer], our_seconds, target)
        for peer, (_, target) in peers.items()
    ]
