"""Numbers over seeds: means with standard errors, and paired differences with what may be concluded from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poseshift import metrics
from poseshift.metrics import DoubleArray, Hits
from poseshift.types import Skeleton


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds in percent, and its standard error; None for one seed."""

    mean: float
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row minus the baseline on the same images and seeds, in points.

    Attributes:
        value: Mean over the seeds that both have.
        low: Of the 95 % interval over resampled images and seeds.
        high: Of it.
        seeds: How many both have.
    """

    value: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """In a word or two: better, worse or neither, by whether the interval holds 0."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no clear difference"

    @property
    def statement(self) -> str:
        """The same as a sentence that says what it rests on."""
        span = f"95 % interval {self.low:+.1f} to {self.high:+.1f} points"
        rests = "images and seeds" if self.seeds > 1 else "images alone: of one seed, another training may differ"
        return f"{self.verdict} ({span}, over {rests})"


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Mean and standard error of the values that are known; None where none is."""
    known = np.array([value for value in values if value is not None], np.float64)
    if not len(known):
        return None
    return Estimate(mean=float(known.mean()), error=standard_error(known))


def standard_error(values: DoubleArray) -> float | None:
    """Of the mean: deviation (n − 1) over √n; None for one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def differences(
    ours: Mapping[int, Hits], theirs: Mapping[int, Hits], weights: DoubleArray, skeleton: Skeleton
) -> dict[str, Difference]:
    """Paired differences by keypoint group, and of the mean under ``mean``; what nothing counts for is left out.

    Args:
        ours: Hits by seed.
        theirs: Of the baseline; the seeds of both are compared, nothing where there are none.
        weights: ``rounds×N`` of :func:`poseshift.metrics.bootstrap_weights`.
        skeleton: Of the hits' ``K`` keypoints.
    """
    seeds = [seed for seed in ours if seed in theirs]
    found = {}
    for name, part in {
        **{name: replace(skeleton, mean_groups=(name,)) for name in skeleton.groups},
        "mean": skeleton,
    }.items():
        if not seeds:
            continue
        one = metrics.paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds], weights, part)
        if not math.isnan(one.value):
            numbers = {key: 100 * getattr(one, key) for key in ("value", "low", "high")}
            found[name] = Difference(**numbers, seeds=len(seeds))
    return found
