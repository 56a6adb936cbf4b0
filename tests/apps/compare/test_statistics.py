"""Against versions written from the formulas, slowly."""

from __future__ import annotations

import math
import statistics as plain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseshift import metrics
from poseshift.apps.compare.statistics import Difference, differences, estimate
from poseshift.metrics import Hits
from poseshift.types import Skeleton

SKELETON = Skeleton(
    name="three", keypoints=("a", "b", "c"), groups={"ends": (0, 2), "middle": (1,)}, mean_groups=("ends",)
)


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=6))
def test_mean_and_standard_error(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    found = estimate(values)
    if not known:
        assert found is None
        return
    assert found is not None
    assert found.mean == pytest.approx(plain.fmean(known))
    if len(known) == 1:
        assert found.error is None
    else:
        assert found.error == pytest.approx(plain.stdev(known) / math.sqrt(len(known)), abs=1e-9)


def hits(seed: int, share: float, count: int = 9) -> Hits:
    generator = np.random.default_rng(seed)
    counted = generator.random((count, 3)) < 0.9
    return Hits(right=(generator.random((count, 3)) < share) & counted, counted=counted)


def slow_mean(one: Hits, rows: list[int], keypoints: list[int]) -> float:
    """PCK of the drawn instances: per keypoint pooled, then averaged."""
    values = []
    for k in keypoints:
        counted = sum(bool(one.counted[row, k]) for row in rows)
        if counted:
            values.append(sum(bool(one.right[row, k]) for row in rows) / counted)
    return sum(values) / len(values) if values else float("nan")


def test_paired_differences_against_a_slow_bootstrap() -> None:
    """Image by image and seed by seed, with the same draws: images once for all seeds, pairs of seeds together."""
    images = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6])
    ours, theirs = {s: hits(s, 0.7) for s in (4, 5, 6)}, {s: hits(s + 50, 0.4) for s in (5, 6, 9)}
    weights = metrics.bootstrap_weights(images)
    found = differences(ours, theirs, weights, SKELETON)
    assert set(found) == {"ends", "middle", "mean"}
    assert {one.seeds for one in found.values()} == {2}, "those that both have"
    seeds = np.random.default_rng(1).integers(2, size=(2, len(weights)))
    for name, keypoints in (("ends", [0, 2]), ("middle", [1]), ("mean", [0, 2])):
        drawn = []
        for round_, times in enumerate(weights):
            rows = [row for row, count in enumerate(times) for _ in range(int(count))]
            each = [slow_mean(ours[s], rows, keypoints) - slow_mean(theirs[s], rows, keypoints) for s in (5, 6)]
            drawn.append(float(np.mean([each[int(seed)] for seed in seeds[:, round_]])))
        kept = [value for value in drawn if not math.isnan(value)]
        whole = list(range(9))
        value = np.mean([slow_mean(ours[s], whole, keypoints) - slow_mean(theirs[s], whole, keypoints) for s in (5, 6)])
        assert found[name].value == pytest.approx(100 * value)
        assert found[name].low == pytest.approx(100 * np.percentile(kept, 2.5))
        assert found[name].high == pytest.approx(100 * np.percentile(kept, 97.5))


def test_no_seed_in_common_and_nothing_counted() -> None:
    weights = metrics.bootstrap_weights(np.arange(9))
    assert differences({0: hits(0, 0.5)}, {1: hits(1, 0.5)}, weights, SKELETON) == {}
    none = Hits(right=np.zeros((9, 3), bool), counted=np.zeros((9, 3), bool))
    none.counted[:, 1] = True
    assert set(differences({0: none}, {0: none}, weights, SKELETON)) == {"middle"}


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [
        (0.2, 3.0, 3, "better (95 % interval +0.2 to +3.0 points, over images and seeds)"),
        (-3.0, -0.2, 2, "worse (95 % interval -3.0 to -0.2 points, over images and seeds)"),
        (-1.0, 2.0, 2, "no clear difference (95 % interval -1.0 to +2.0 points, over images and seeds)"),
        (0.0, 2.0, 2, "no clear difference (95 % interval +0.0 to +2.0 points, over images and seeds)"),
        (
            0.2,
            3.0,
            1,
            "better (95 % interval +0.2 to +3.0 points, over images alone: of one seed, another training may d",
        ),
    ],
)
def test_what_is_said_of_a_difference(low: float, high: float, seeds: int, words: str) -> None:
    found = Difference(value=(low + high) / 2, low=low, high=high, seeds=seeds)
    assert found.statement.startswith(words)
