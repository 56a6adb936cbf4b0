"""Calibrated scores: 0.8 means that a keypoint lies within PCK@0.05 of its true place with probability 0.8.

Fitted in two steps, neither of which looks at a target label.

1. *Platt scaling on the source* (Platt, 1999): ``p = σ(a·logit(s) + b)`` of the raw score ``s``, the height of the
   heatmap's peak, with ``a ≥ 0`` and ``b`` of highest likelihood on labelled source images.
2. *A shift for the target*: ``p = σ(a·logit(s) + b + c)``, with the ``c`` that makes the mean score of target images
   what their share of right keypoints is estimated to be. The estimate comes from the agreement ``A`` of predictor and
   student (:mod:`poseshift.engine.observation`), which relates to the share right as on the source, in probits
   (*agreement on the line*, Baek et al., NeurIPS 2022): ``Φ⁻¹(right_T) = Φ⁻¹(right_S) + Φ⁻¹(A_T) - Φ⁻¹(A_S)``.

Why this correction: ``docs/trust.md`` has those that were tried. Agreement itself is no estimate: two views of one net
err alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from poseshift.errors import CheckpointError
from poseshift.metrics import BoolArray, DoubleArray
from poseshift.types import FloatArray

EDGE = 1e-4
"""Raw scores are kept that far from 0 and 1, where the logit ends."""

Held = Literal["validation", "source", "start"]
HELD: dict[str, str] = {
    "validation": "the held-out source images of `validation`",
    "source": "source images of training, as no `validation` is configured",
    "start": "the run that it started from, as it has no source of its own",
}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a raw score becomes a probability.

    Attributes:
        slope: ``a``.
        intercept: ``b``.
        shift: ``c``; 0 on the source.
        held: What ``a`` and ``b`` were fitted on.
        right_source: Share of right keypoints there.
        agreement_source: Share of keypoints there that predictor and student place alike.
        agreement_target: The same on target images; None where there are none, and the shift is 0.
        expected: Share of the target's keypoints that is estimated to be right; None likewise.
    """

    slope: float
    intercept: float
    shift: float
    held: Held
    right_source: float
    agreement_source: float
    agreement_target: float | None = None
    expected: float | None = None

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Probabilities of raw scores of any shape."""
        return sigmoid(self.slope * logit(scores) + self.intercept + self.shift).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class OnSource:
    """What the source shows; pooled over its labelled keypoints, ``n`` of them.

    Attributes:
        scores: ``n`` raw scores.
        right: ``n``: within PCK@0.05.
        agreed: ``n``: predictor and student agree.
        held: Which images these are.
    """

    scores: FloatArray
    right: BoolArray
    agreed: BoolArray
    held: Held


def fit(source: OnSource, scores: FloatArray | None, agreed: BoolArray | None) -> Calibration:
    """The calibration of one net.

    Args:
        source: Its predictions of labelled source images, at least one keypoint.
        scores: Its raw scores of target images, any shape; None without a target.
        agreed: Where predictor and student agree on these; None likewise.
    """
    slope, intercept = platt(source.scores, source.right)
    right, agreement = float(source.right.mean()), float(source.agreed.mean())
    own = Calibration(
        slope=slope,
        intercept=intercept,
        shift=0.0,
        held=source.held,
        right_source=right,
        agreement_source=agreement,
    )
    return own if scores is None or agreed is None else moved(own, scores, agreed)


def moved(own: Calibration, scores: FloatArray, agreed: BoolArray, *, held: Held | None = None) -> Calibration:
    """``own`` with the shift that the target asks for; ``held`` says so where it is another run's."""
    agreement = float(agreed.mean())
    expected = on_the_line(own.right_source, own.agreement_source, agreement)
    shift = shift_to(own.slope * logit(scores) + own.intercept, expected)
    return Calibration(
        slope=own.slope,
        intercept=own.intercept,
        shift=shift,
        held=held or own.held,
        right_source=own.right_source,
        agreement_source=own.agreement_source,
        agreement_target=agreement,
        expected=expected,
    )


def logit(scores: FloatArray | DoubleArray) -> DoubleArray:
    """``log(s / (1 - s))`` of scores in [0, 1], which are kept off both ends."""
    kept = np.clip(scores.astype(np.float64), EDGE, 1 - EDGE)
    out: DoubleArray = np.log(kept / (1 - kept))
    return out


def sigmoid(values: DoubleArray) -> DoubleArray:
    """The inverse of :func:`logit`, without overflow."""
    out: DoubleArray = 0.5 * (1 + np.tanh(0.5 * values))
    return out


def platt(scores: FloatArray, right: BoolArray, *, steps: int = 50) -> tuple[float, float]:
    """Slope and intercept of highest likelihood, by Newton's method.

    Truths are smoothed as Platt has it, to ``(n₊ + 1)/(n₊ + 2)`` and ``1/(n₋ + 2)``, so that separable scores have a
    finite answer. Where scores say nothing, or the wrong way round, the slope is 0: every keypoint then has the share
    right as its probability.

    Args:
        scores: ``n`` in [0, 1].
        right: ``n``.
        steps: At most so many.
    """
    wanted = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    base = float(logit(np.array([wanted.mean()]))[0])
    values = logit(scores)
    if np.ptp(values) < 1e-9:
        return 0.0, base
    design = np.stack((values - values.mean(), np.ones_like(values)), 1)
    weights = np.array([0.0, base])
    for _ in range(steps):
        said = sigmoid(design @ weights)
        gradient = design.T @ (wanted - said)
        curvature = (design * (said * (1 - said))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-9:
            break
    if weights[0] <= 0:
        return 0.0, base
    return float(weights[0]), float(weights[1] - weights[0] * values.mean())


def on_the_line(right: float, agreement: float, agreement_there: float) -> float:
    """The share right on other images whose agreement is known, by *agreement on the line*; shares are in [0, 1]."""
    normal = NormalDist()
    probits = [normal.inv_cdf(min(max(share, 1e-3), 1 - 1e-3)) for share in (right, agreement_there, agreement)]
    return normal.cdf(probits[0] + probits[1] - probits[2])


def shift_to(values: DoubleArray, mean: float) -> float:
    """The ``c`` for which the mean of ``σ(values + c)`` is ``mean``, by bisection; ``mean`` in (0, 1)."""
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(sigmoid(values + middle).mean()) < mean else (low, middle)
    return (low + high) / 2


def parsed(raw: Mapping[str, Any], *, origin: str) -> Calibration:
    """A calibration as a run folder keeps it. Raises :class:`CheckpointError`."""
    try:
        found = Calibration(**raw)
        numbers = [found.slope, found.intercept, found.shift, found.right_source, found.agreement_source]
        if not np.isfinite(numbers).all() or found.held not in HELD:
            raise ValueError("not finite" if found.held in HELD else f"held {found.held!r}")
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{origin}: no calibration ({error}); remove the file, then run `poseshift calibrate` anew"
        ) from error
    return found
