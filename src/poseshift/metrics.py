"""Metrics on coordinates, numpy only.

PCK@α, two protocols:

``exact``
    A keypoint is right when its distance to the truth is at most ``α × side of the evaluation crop``. Pooled over the
    set for each keypoint, then averaged over keypoints.
``reference``
    As the reference code of the field does it (section 2.5): on the cells of heatmap maxima, strictly less than
    ``α × size`` of the map, keypoints whose true cell has x ≤ 1 or y ≤ 1 left out, averaged over batches of 32.

Calibration: a score in [0, 1] is held against how often keypoints of that score are right under ``exact``.

Means of a group are means over its keypoints; keypoints that never count are left out (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseshift.types import FloatArray, Skeleton

BoolArray = npt.NDArray[np.bool_]
DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Which keypoints were right, and which count: both ``N×K``."""

    right: BoolArray
    counted: BoolArray


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % bootstrap interval, all in the unit of the metric."""

    value: float
    low: float
    high: float


def distances(predicted: FloatArray, truth: FloatArray) -> DoubleArray:
    """Euclidean distances ``N×K`` of keypoints ``N×K×2``."""
    offset = predicted.astype(np.float64) - truth.astype(np.float64)
    out: DoubleArray = np.sqrt((offset**2).sum(-1))
    return out


def exact_hits(
    predicted: FloatArray, truth: FloatArray, counted: BoolArray, side: FloatArray, *, alpha: float = 0.05
) -> Hits:
    """PCK of the ``exact`` protocol.

    Args:
        predicted: ``N×K×2``, any unit.
        truth: ``N×K×2``, the same unit.
        counted: ``N×K``, which keypoints count.
        side: ``N``, side of the evaluation crop in that unit.
        alpha: Fraction of the side.
    """
    near = distances(predicted, truth) <= alpha * side[:, None].astype(np.float64)
    return Hits(right=near & counted, counted=counted)


def reference_hits(cells: FloatArray, true_cells: FloatArray, size: tuple[int, int], *, alpha: float = 0.05) -> Hits:
    """PCK of the ``reference`` protocol, before the averaging over batches.

    Args:
        cells: ``N×K×2``, x and y of the maxima of the predicted maps; (0, 0) where a map has no positive value.
        true_cells: ``N×K×2``, the same of the true maps; (0, 0) for keypoints that are not labelled or not visible.
        size: ``(h, w)`` of the maps.
        alpha: Fraction of the map's size.
    """
    counted: BoolArray = np.all(true_cells > 1, axis=-1)
    norm = np.array([size[1], size[0]], np.float64) / 10
    near = distances((cells / norm).astype(np.float64), (true_cells / norm).astype(np.float64)) < 10 * alpha
    return Hits(right=near & counted, counted=counted)


def pck(hits: Hits) -> DoubleArray:
    """Fraction right of each keypoint (``K``), pooled over instances; NaN where none counts."""
    counted = hits.counted.sum(0)
    return np.where(counted > 0, hits.right.sum(0) / np.maximum(counted, 1), np.nan)


def pck_by_batch(hits: Hits, *, batch: int = 32) -> DoubleArray:
    """Fraction right of each keypoint, averaged over batches by their size; batches where none counts are left out."""
    values, weights = [], []
    for first in range(0, len(hits.right), batch):
        rows = slice(first, first + batch)
        part = Hits(right=hits.right[rows], counted=hits.counted[rows])
        values.append(pck(part))
        weights.append(np.where(part.counted.any(0), len(part.right), 0))
    table, weight = np.array(values), np.array(weights, np.float64)
    total = weight.sum(0)
    return np.where(total > 0, (np.nan_to_num(table) * weight).sum(0) / np.maximum(total, 1), np.nan)


def group_means(per_keypoint: DoubleArray, skeleton: Skeleton) -> dict[str, float]:
    """Mean of each group of the skeleton, and ``mean`` over the keypoints that its table counts."""
    groups = {name: mean_of(per_keypoint[list(rows)]) for name, rows in skeleton.groups.items()}
    return {**groups, "mean": mean_of(per_keypoint[list(skeleton.mean_keypoints)])}


def mean_of(values: DoubleArray) -> float:
    """Mean without NaN; NaN where nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def bootstrap_weights(images: npt.NDArray[np.int64], *, rounds: int = 1000, seed: int = 0) -> DoubleArray:
    """``rounds×N`` counts of how often each instance is drawn when **images** are resampled with replacement."""
    _, image = np.unique(images, return_inverse=True)
    if not len(image):
        return np.zeros((rounds, 0))
    count = int(image.max()) + 1
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=rounds)
    return drawn[:, image].astype(np.float64)


def _resampled_means(hits: Hits, weights: DoubleArray, skeleton: Skeleton) -> DoubleArray:
    keypoints = list(skeleton.mean_keypoints)
    counted = weights @ hits.counted[:, keypoints].astype(np.float64)
    right = weights @ hits.right[:, keypoints].astype(np.float64)
    share = np.where(counted > 0, right / np.maximum(counted, 1e-12), np.nan)
    known = (~np.isnan(share)).sum(1)
    return np.where(known > 0, np.nan_to_num(share).sum(1) / np.maximum(known, 1), np.nan)


def _percentiles(values: DoubleArray) -> tuple[float, float]:
    """The 95 % interval of the values that are known; NaN where none is."""
    kept = values[~np.isnan(values)]
    low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (np.nan, np.nan)
    return float(low), float(high)


def interval(hits: Hits, weights: DoubleArray, skeleton: Skeleton) -> Interval:
    """The mean PCK with its 95 % percentile interval over resampled images."""
    low, high = _percentiles(_resampled_means(hits, weights, skeleton))
    return Interval(value=group_means(pck(hits), skeleton)["mean"], low=low, high=high)


def paired_difference(ours: list[Hits], theirs: list[Hits], weights: DoubleArray, skeleton: Skeleton) -> Interval:
    """Mean PCK of ``ours`` minus ``theirs`` on the same instances, resampled together.

    Each list holds one entry a seed; seeds are resampled as well (pairs of equal index stay together), so the interval
    covers images and seeds.
    """
    seeds = len(ours)
    a = np.stack([_resampled_means(hits, weights, skeleton) for hits in ours])
    b = np.stack([_resampled_means(hits, weights, skeleton) for hits in theirs])
    drawn = np.random.default_rng(1).integers(seeds, size=(seeds, a.shape[1]))
    difference = np.take_along_axis(a - b, drawn, axis=0).mean(0)
    low, high = _percentiles(difference)
    mean = [
        group_means(pck(x), skeleton)["mean"] - group_means(pck(y), skeleton)["mean"]
        for x, y in zip(ours, theirs, strict=True)
    ]
    return Interval(value=float(np.mean(mean)), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Scores against how often they are right, in ``B`` bins of equal width over [0, 1]; NaN in an empty bin.

    Attributes:
        count: ``B`` keypoints.
        score: ``B`` mean scores.
        right: ``B`` shares right.
    """

    count: npt.NDArray[np.int64]
    score: DoubleArray
    right: DoubleArray

    @property
    def error(self) -> float:
        """The expected calibration error in [0, 1]: ``Σ_b n_b / n · |right_b - score_b|``; NaN without a keypoint."""
        total = int(self.count.sum())
        gaps = np.nan_to_num(np.abs(self.right - self.score))
        return float((self.count * gaps).sum() / total) if total else float("nan")


def reliability(scores: FloatArray, hits: Hits, *, bins: int = 15) -> Reliability:
    """How often keypoints of about equal scores are right.

    Args:
        scores: ``N×K`` in [0, 1].
        hits: Which of these keypoints are right, and which count; all that count are pooled.
        bins: Of equal width; a score on an edge belongs to the upper bin, 1 to the last.
    """
    kept, right = scores[hits.counted].astype(np.float64), hits.right[hits.counted].astype(np.float64)
    place = np.clip((kept * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        sums = [np.bincount(place, weights=values, minlength=bins) / count for values in (kept, right)]
    return Reliability(count=count, score=sums[0], right=sums[1])


def expected_calibration_error(scores: FloatArray, hits: Hits, *, bins: int = 15) -> float:
    """ECE (Naeini et al., AAAI 2015) in [0, 1] of :func:`reliability`'s bins."""
    return reliability(scores, hits, bins=bins).error


def end_point_error(predicted: FloatArray, truth: FloatArray, counted: BoolArray) -> float:
    """Mean distance over the keypoints that count, in the unit of the coordinates (EPE)."""
    return mean_of(np.where(counted, distances(predicted, truth), np.nan).ravel())


def normalised_error(predicted: FloatArray, truth: FloatArray, counted: BoolArray, side: FloatArray) -> float:
    """Mean distance as a fraction of each instance's ``side`` (NME)."""
    share = distances(predicted, truth) / side[:, None]
    return mean_of(np.where(counted, share, np.nan).ravel())


def area_under_pck(
    predicted: FloatArray,
    truth: FloatArray,
    counted: BoolArray,
    side: FloatArray,
    *,
    largest: float = 0.2,
    steps: int = 41,
) -> float:
    """Mean over ``α`` from 0 to ``largest`` of the PCK pooled over all keypoints (AUC), by the trapezoid rule."""
    share = (distances(predicted, truth) / side[:, None])[counted]
    if not len(share):
        return float("nan")
    alphas = np.linspace(0, largest, steps)
    curve = (share[None] <= alphas[:, None]).mean(1)
    return float((curve[1:] + curve[:-1]).mean() / 2)


def object_keypoint_similarity(
    predicted: FloatArray, truth: FloatArray, counted: BoolArray, area: DoubleArray, sigmas: DoubleArray
) -> DoubleArray:
    """COCO's OKS of each instance (``N``): mean of ``exp(-d² / (2·area·(2σ)²))`` over the keypoints that count."""
    squared = distances(predicted, truth) ** 2
    similarity = np.exp(-squared / (2 * area[:, None] * (2 * sigmas[None]) ** 2 + np.spacing(1)))
    total = counted.sum(1)
    return np.where(total > 0, np.where(counted, similarity, 0.0).sum(1) / np.maximum(total, 1), np.nan)


OKS_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The thresholds that COCO's AP averages over."""


def average_precision(
    similarity: DoubleArray, scores: FloatArray, images: npt.NDArray[np.int64], *, thresholds: Sequence[float]
) -> dict[float, float]:
    """COCO's AP of predictions made for given instances (one each), by OKS threshold; their mean is OKS-AP.

    A prediction belongs to the instance whose box it was made in, so each is right (OKS at the threshold or above) or
    a false alarm; precision is interpolated at 101 recalls over predictions in the order of their scores.

    Args:
        similarity: ``N``, from :func:`object_keypoint_similarity`; instances without a counted keypoint are NaN and
            left out, as COCO ignores them.
        scores: ``N``, confidence of each prediction.
        images: ``N``, which image each lies in; equal scores keep the order of images, as COCO's code does.
        thresholds: Of OKS, such as :data:`OKS_THRESHOLDS`.

    Returns:
        AP in [0, 1] by threshold, NaN without instances.
    """
    known = ~np.isnan(similarity)
    order = np.lexsort((images[known], -scores[known].astype(np.float64)))
    found = similarity[known][order]
    recalls = np.linspace(0, 1, 101)
    result = {}
    for threshold in thresholds:
        right = np.cumsum(found >= threshold)
        if not len(found):
            result[threshold] = float("nan")
            continue
        precision = np.maximum.accumulate((right / np.arange(1, len(found) + 1))[::-1])[::-1]
        place = np.searchsorted(right / len(found), recalls, side="left")
        result[threshold] = float(np.append(precision, 0.0)[np.minimum(place, len(found))].mean())
    return result
