"""Scores that are probabilities: fits against slow versions and against data made by the formula itself."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift import metrics
from poseshift.engine import calibration
from poseshift.engine.calibration import Calibration, OnSource
from poseshift.errors import CheckpointError
from poseshift.metrics import Hits

SLOPE, INTERCEPT = 1.7, -0.8


def drawn(count: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores, and whether each keypoint is right with the probability that the formula gives."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(2, 2, count).astype(np.float32)
    chance = 1 / (1 + np.exp(-(SLOPE * np.log(scores / (1 - scores)) + INTERCEPT + shift)))
    return scores, generator.random(count) < chance


def error(scores: np.ndarray, right: np.ndarray) -> float:
    counted = np.ones((len(scores), 1), bool)
    return metrics.expected_calibration_error(scores[:, None], Hits(right=right[:, None], counted=counted))


def likelihood(slope: float, intercept: float, scores: np.ndarray, right: np.ndarray) -> float:
    """Mean log-likelihood, one keypoint after the other, of truths smoothed as Platt has it."""
    positive, total = int(right.sum()), 0.0
    for score, hit in zip(scores.tolist(), right.tolist(), strict=True):
        kept = min(max(score, 1e-4), 1 - 1e-4)
        said = 1 / (1 + math.exp(-(slope * math.log(kept / (1 - kept)) + intercept)))
        wanted = (positive + 1) / (positive + 2) if hit else 1 / (len(right) - positive + 2)
        total += wanted * math.log(said) + (1 - wanted) * math.log(1 - said)
    return total / len(right)


def test_platt_finds_what_made_the_data() -> None:
    slope, intercept = calibration.platt(*drawn(20_000, 0.0))
    assert slope == pytest.approx(SLOPE, abs=0.06)
    assert intercept == pytest.approx(INTERCEPT, abs=0.06)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(5, 60), shift=st.floats(-2, 2))
def test_no_neighbour_is_more_likely(seed: int, count: int, shift: float) -> None:
    scores, right = drawn(count, shift, seed)
    slope, intercept = calibration.platt(scores, right)
    assert slope >= 0
    best = likelihood(slope, intercept, scores, right)
    for change in ((0.05, 0.0), (0.0, 0.05), (0.0, -0.05), (-0.05, 0.0)):
        if slope + change[0] >= 0:
            assert likelihood(slope + change[0], intercept + change[1], scores, right) <= best + 1e-12


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        (np.ones(10), np.arange(10) < 3),  # all the same: logits that were clamped
        (np.linspace(0, 1, 10), np.arange(10) < 3),  # the wrong way round
    ],
)
def test_scores_that_say_nothing_become_the_share_right(scores: np.ndarray, right: np.ndarray) -> None:
    slope, intercept = calibration.platt(scores.astype(np.float32), right)
    assert slope == 0
    smoothed = (3 * (4 / 5) + 7 * (1 / 9)) / 10
    assert 1 / (1 + math.exp(-intercept)) == pytest.approx(smoothed)


def test_separable_scores_have_a_finite_answer() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    slope, intercept = calibration.platt(scores, scores > 0.5)
    assert 0 < slope < 20
    assert math.isfinite(intercept)


@pytest.mark.parametrize(("right", "there", "agreement", "expected"), [(0.6, 0.7, 0.7, 0.6), (0.5, 0.5, 0.8, 0.8)])
def test_on_the_line_has_its_fixed_points(right: float, there: float, agreement: float, expected: float) -> None:
    """Equal agreement, equal accuracy; on a line through one half the two are the same."""
    assert calibration.on_the_line(right, there, agreement) == pytest.approx(expected)


def test_on_the_line_falls_with_agreement_and_stays_a_share() -> None:
    found = [calibration.on_the_line(0.7, 0.95, share) for share in (0.0, 0.3, 0.6, 0.95, 1.0)]
    assert found == sorted(found)
    assert found[3] == pytest.approx(0.7)
    assert 0 < found[0] < found[-1] < 1


@settings(deadline=None, max_examples=25)
@given(mean=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_the_shift_gives_the_mean(mean: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 2, 50)
    shift = calibration.shift_to(values, mean)
    assert np.mean([1 / (1 + math.exp(-(value + shift))) for value in values]) == pytest.approx(mean, abs=1e-9)


def test_a_shifted_domain_is_calibrated_without_its_labels() -> None:
    """The target is harder by a shift; its agreement stands on the line."""
    scores, right = drawn(20_000, 0.0)
    others, truth = drawn(20_000, -1.5, seed=1)
    agreed = np.arange(20_000) < 20_000 * 0.9
    share, line = truth.mean(), calibration.on_the_line
    lower = next(one for one in np.linspace(0.9, 0.1, 800) if line(right.mean(), 0.9, one) <= share)
    source = OnSource(scores=scores, right=right, agreed=agreed, held="validation")
    found = calibration.fit(source, others, np.arange(20_000) < 20_000 * lower)
    assert found.expected == pytest.approx(share, abs=0.01)
    assert found.shift == pytest.approx(-1.5, abs=0.12)
    unshifted = calibration.fit(source, None, None)
    assert (unshifted.shift, unshifted.expected, unshifted.agreement_target) == (0.0, None, None)
    assert error(found(others), truth) < 0.02 < 0.15 < error(unshifted(others), truth)
    assert error(unshifted(scores), right) < 0.02 < error(scores, right)


def test_calibrated_scores_are_probabilities_in_the_order_of_the_raw_ones() -> None:
    made = Calibration(
        slope=1.3, intercept=0.2, shift=-2.0, held="source", right_source=0.5, agreement_source=0.9
    )  # fmt: skip
    raw = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, -1)
    found = made(raw)
    assert found.dtype == np.float32
    assert found.shape == raw.shape
    assert (np.diff(found[0]) >= 0).all()
    assert 0 < found.min() < found.max() < 1


def test_what_a_folder_keeps_is_read_back_or_refused() -> None:
    made = Calibration(slope=1.3, intercept=0.2, shift=-2.0, held="start", right_source=0.5, agreement_source=0.9)
    assert calibration.parsed(asdict(made), origin="x") == made
    for wrong in ({"slope": 1.0}, {**asdict(made), "shift": math.nan}, {**asdict(made), "held": "target labels"}):
        with pytest.raises(CheckpointError, match=r"trust/step-1.json: no calibration .* run `poseshift calibrate`"):
            calibration.parsed(wrong, origin="trust/step-1.json")
