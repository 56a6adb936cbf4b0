"""Two ways of one job, measured side by side: in turn, in both orders, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Job = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of a row, and what it was made of."""

    value: float
    detail: Mapping[str, float | str] = field(default_factory=dict)


def seconds(job: Job) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def medians(jobs: Mapping[str, Job], *, repeats: int, warm: int = 1) -> dict[str, float]:
    """Median seconds of each job; every round calls all of them, every second one from the last to the first.

    Args:
        jobs: By name.
        repeats: Rounds.
        warm: Rounds before those, which do not count.
    """
    found: dict[str, list[float]] = {name: [] for name in jobs}
    gc.collect()
    for turn in range(warm + repeats):
        for name in list(jobs) if turn % 2 == 0 else reversed(list(jobs)):
            taken = seconds(jobs[name])
            if turn >= warm:
                found[name].append(taken)
    return {name: statistics.median(values) for name, values in found.items()}
