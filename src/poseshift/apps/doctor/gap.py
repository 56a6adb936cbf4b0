"""How far two domains lie apart, without labels: can a linear classifier tell them, and how much of them differs.

Two measures, since neither says all. *Telling apart* is the area under the ROC curve of a regularised linear
discriminant, cross-validated with whole groups held out, and from its errors ε the proxy A-distance 2 (1 − 2 ε)
(Ben-David et al., 2007). It sees every trace of a domain, a compression artefact too, and is soon at its ceiling.
*Size* is the energy coefficient (2 E|x−y| − E|x−x'| − E|y−y'|) / 2 E|x−y| of standardised features (Székely & Rizzo):
0 for the same distribution, 1 for two points; it keeps growing where the classifier makes no error. Both stand beside
their value between random halves of the source, the null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from poseshift.apps.doctor.features import Features
from poseshift.draws import generator
from poseshift.types import FloatArray, IntArray

Floats = npt.NDArray[np.float64]

LEAST = 20
"""Instances of each domain below which nothing is measured: the 95 % interval of an AUC of 20 against 20 is ±0.18."""
FOLDS = 5
SHRINKAGE = 0.2
"""Share of the identity in the covariance of the discriminant: some hundred features of some hundred images."""
RESAMPLES, HALVINGS = 400, 20


class Interval(NamedTuple):
    """A value with its 95 % interval (of the null: median, 2.5th and 97.5th percentile over halvings)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The gap on some features.

    Attributes:
        auc: Of telling source from target apart.
        null_auc: Of telling two halves of the source apart.
        a_distance: Proxy A-distance.
        size: Energy coefficient of source and target.
        null_size: Of two halves of the source.
        parts: Energy coefficient on each part of the features alone.
        grouped: Whether folds and halves kept whole groups together.
    """

    auc: Interval
    null_auc: Interval
    a_distance: Interval
    size: Interval
    null_size: Interval
    parts: dict[str, float]
    grouped: bool


def measure(
    source: Features, target: Features, source_groups: IntArray, target_groups: IntArray, *, seed: int
) -> Gap | None:
    """The gap between two domains, or None where one has fewer than 20 instances.

    Args:
        source: Features ``n×d``.
        target: Features ``m×d``.
        source_groups: ``n`` numbers of groups, never divided between folds or halves.
        target_groups: ``m``, likewise.
        seed: Of folds, halves and resampling.
    """
    if min(len(source.values), len(target.values)) < LEAST:
        return None
    enough = min(len(np.unique(source_groups)), len(np.unique(target_groups))) >= 2 * FOLDS
    groups = [source_groups, target_groups] if enough else [np.arange(len(f.values)) for f in (source, target)]
    pair = _standardised(source.values, target.values)
    scores = _scores(*pair, *groups, seed=seed)
    halved = [_null(pair[0], groups[0], seed=seed + number) for number in range(HALVINGS)]
    parts = {}
    for part in dict.fromkeys(source.parts):
        columns = np.array([name == part for name in source.parts])
        parts[part] = energy(_distances(*(side[:, columns] for side in pair)))
    auc, errors = _resampled(scores, groups, seed=seed)
    return Gap(
        auc=auc,
        null_auc=_percentiles([one for one, _ in halved]),
        a_distance=Interval(*(2 * (1 - 2 * min(error, 0.5)) for error in (errors.value, errors.high, errors.low))),
        size=_resampled_size(_distances(*pair), groups, seed=seed),
        null_size=_percentiles([size for _, size in halved]),
        parts=parts,
        grouped=enough,
    )


def _standardised(source: FloatArray, target: FloatArray) -> tuple[Floats, Floats]:
    """Both in standard deviations within a domain; columns that stand still within both are left out."""
    one, other = source.astype(np.float64), target.astype(np.float64)
    spread = np.sqrt((one.var(0) + other.var(0)) / 2)
    kept = spread > 1e-9 * np.maximum(1.0, np.abs(one).max(0, initial=0))
    scale = np.where(kept, spread, 1.0)
    return ((one - one.mean(0)) / scale * kept), ((other - one.mean(0)) / scale * kept)


def _folds(groups: IntArray, seed: int, stream: str) -> IntArray:
    """A fold for each instance: shuffled groups, each laid into the fold that has least so far."""
    names, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    fold = np.zeros(len(names), np.int64)
    filled = np.zeros(FOLDS, np.int64)
    for name in generator(seed, stream).permutation(len(names)):
        fold[name] = int(filled.argmin())
        filled[fold[name]] += counts[name]
    return fold[member]


class Scores(NamedTuple):
    """Held-out scores of both domains (above 0: target) and the fold that each was held out in."""

    source: Floats
    target: Floats
    source_fold: IntArray
    target_fold: IntArray


def _scores(source: Floats, target: Floats, source_groups: IntArray, target_groups: IntArray, *, seed: int) -> Scores:
    folds = _folds(source_groups, seed, "doctor source folds"), _folds(target_groups, seed, "doctor target folds")
    found = np.zeros(len(source)), np.zeros(len(target))
    for fold in range(FOLDS):
        held = folds[0] == fold, folds[1] == fold
        weight, offset = _discriminant(source[~held[0]], target[~held[1]])
        for side, values, out in zip(found, (source, target), held, strict=True):
            side[out] = values[out] @ weight - offset
    return Scores(*found, *folds)


def _discriminant(source: Floats, target: Floats) -> tuple[Floats, float]:
    """Linear discriminant with a covariance shrunk towards its diagonal's mean; 0 lies midway between the means."""
    means = source.mean(0), target.mean(0)
    centred = np.concatenate([source - means[0], target - means[1]])
    covariance = centred.T @ centred / max(1, len(centred) - 2)
    ridge = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * ridge * np.eye(len(covariance))
    weight = np.linalg.solve(covariance, means[1] - means[0])
    return weight, float(weight @ (means[0] + means[1]) / 2)


def _wins(scores: Scores) -> tuple[Floats, Floats]:
    """``n×m``: whether the target's score is higher (half where equal), and which pairs share a fold."""
    steps = scores.target - scores.source[:, None]
    same = (scores.source_fold[:, None] == scores.target_fold).astype(np.float64)
    return np.where(steps > 0, 1.0, np.where(steps == 0, 0.5, 0.0)) * same, same


def _weights(groups: IntArray, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each instance occurs when groups are drawn with replacement, again and again."""
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1
    while True:
        yield rng.multinomial(count, np.full(count, 1 / count)).astype(np.float64)[member]


def _resampled(scores: Scores, groups: list[IntArray], *, seed: int) -> tuple[Interval, Interval]:
    """AUC, and the mean of both domains' error rates, with bootstrap intervals over groups."""
    wins, same = _wins(scores)
    wrong = (scores.source > 0).astype(np.float64), (scores.target <= 0).astype(np.float64)

    def both(u: Floats, v: Floats) -> tuple[float, float]:
        error = float(u @ wrong[0]) / float(u.sum()) + float(v @ wrong[1]) / float(v.sum())
        return float(u @ wins @ v) / max(float(u @ same @ v), 1e-9), error / 2

    here = both(np.ones(len(scores.source)), np.ones(len(scores.target)))
    rng = generator(seed, "doctor resampling")
    sides = _weights(groups[0], rng), _weights(groups[1], rng)
    drawn = np.array([both(next(sides[0]), next(sides[1])) for _ in range(RESAMPLES)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return Interval(here[0], float(low[0]), float(high[0])), Interval(here[1], float(low[1]), float(high[1]))


class Distances(NamedTuple):
    """Euclidean distances: source to target ``n×m``, and within each."""

    across: Floats
    source: Floats
    target: Floats


def _distances(source: Floats, target: Floats) -> Distances:
    return Distances(_euclidean(source, target), _euclidean(source, source), _euclidean(target, target))


def _euclidean(one: Floats, other: Floats) -> Floats:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    distances: Floats = np.sqrt(np.maximum(squares, 0))
    return distances


def energy(distances: Distances, source: Floats | None = None, target: Floats | None = None) -> float:
    """The energy coefficient; 0 in the mean where both are draws of one distribution.

    Args:
        distances: Of ``n`` and ``m`` instances.
        source: ``n`` weights; 1 each where None. An instance is never paired with itself.
        target: ``m`` weights.
    """
    u = np.ones(len(distances.source)) if source is None else source
    v = np.ones(len(distances.target)) if target is None else target
    across = u @ distances.across @ v / (u.sum() * v.sum())
    within = _within(distances.source, u) + _within(distances.target, v)
    return float((2 * across - within) / max(2 * across, 1e-12))


def _within(distances: Floats, weights: Floats) -> float:
    return float(weights @ distances @ weights / max(weights.sum() ** 2 - (weights**2).sum(), 1e-12))


def _resampled_size(distances: Distances, groups: list[IntArray], *, seed: int) -> Interval:
    rng = generator(seed, "doctor resampling")
    sides = _weights(groups[0], rng), _weights(groups[1], rng)
    drawn = [energy(distances, next(sides[0]), next(sides[1])) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(energy(distances), float(low), float(high))


def _null(source: Floats, groups: IntArray, *, seed: int) -> tuple[float, float]:
    """AUC and energy coefficient of two random halves of the source."""
    names, member = np.unique(groups, return_inverse=True)
    side = generator(seed, "doctor halves").permutation(len(names)) < len(names) // 2
    first = side[member]
    scores = _scores(source[first], source[~first], groups[first], groups[~first], seed=seed)
    wins, same = _wins(scores)
    return float(wins.sum() / max(same.sum(), 1)), energy(_distances(source[first], source[~first]))


def _percentiles(values: list[float]) -> Interval:
    low, middle, high = np.percentile(values, [2.5, 50, 97.5])
    return Interval(float(middle), float(low), float(high))
