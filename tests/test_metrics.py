from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift import metrics
from poseshift.metrics import Hits
from poseshift.types import Skeleton

SKELETON = Skeleton(
    name="four",
    keypoints=("a", "b", "c", "head"),
    groups={"ab": (0, 1), "c": (2,), "head": (3,)},
    mean_groups=("ab", "c"),
)


def points(*rows: tuple[float, float]) -> np.ndarray:
    return np.array([rows], np.float32)


def random_hits(rng: np.random.Generator, count: int, share: float = 0.8) -> Hits:
    counted = rng.random((count, 4)) < share
    return Hits(right=(rng.random((count, 4)) < 0.4) & counted, counted=counted)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), bins=st.integers(1, 20))
def test_expected_calibration_error_against_a_loop(seed: int, count: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    scores, hits = rng.random((count, 4)).astype(np.float32), random_hits(rng, count)
    scores[rng.random((count, 4)) < 0.1] = 1.0
    held: dict[int, list[tuple[float, bool]]] = {}
    for i in range(count):
        for k in range(4):
            if hits.counted[i, k]:
                place = min(int(np.float64(scores[i, k]) * bins), bins - 1)
                held.setdefault(place, []).append((float(scores[i, k]), bool(hits.right[i, k])))
    total = sum(map(len, held.values()))
    error = sum(
        abs(sum(s for s, _ in one) / len(one) - sum(r for _, r in one) / len(one)) * len(one) for one in held.values()
    )
    found = metrics.expected_calibration_error(scores, hits, bins=bins)
    assert found == pytest.approx(error / total) if total else math.isnan(found)
    table = metrics.reliability(scores, hits, bins=bins)
    assert table.count.tolist() == [len(held.get(b, [])) for b in range(bins)]
    for b, one in held.items():
        assert table.score[b] == pytest.approx(sum(s for s, _ in one) / len(one))
        assert table.right[b] == pytest.approx(sum(r for _, r in one) / len(one))


def test_calibration_error_of_known_scores() -> None:
    """Half right at 0.5 is perfect; all wrong at 1 is as bad as it gets."""
    right = np.array([[True, False]])
    counted = np.ones((1, 2), bool)
    assert metrics.expected_calibration_error(np.full((1, 2), 0.5, np.float32), Hits(right=right, counted=counted)) == 0
    none = Hits(right=np.zeros((1, 2), bool), counted=counted)
    assert metrics.expected_calibration_error(np.ones((1, 2), np.float32), none) == 1


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 20), alpha=st.floats(0.01, 0.5))
def test_exact_protocol_against_a_loop(seed: int, count: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    predicted = (rng.random((count, 4, 2)) * 50).astype(np.float32)
    truth = (rng.random((count, 4, 2)) * 50).astype(np.float32)
    counted, side = rng.random((count, 4)) < 0.7, (rng.random(count) * 100 + 5).astype(np.float32)
    found = metrics.pck(metrics.exact_hits(predicted, truth, counted, side, alpha=alpha))
    for k in range(4):
        right = total = 0
        for n in range(count):
            if counted[n, k]:
                total += 1
                right += math.dist(predicted[n, k].tolist(), truth[n, k].tolist()) <= alpha * float(side[n])
        assert found[k] == pytest.approx(right / total, nan_ok=True) if total else math.isnan(found[k])


def slow_reference(cells: np.ndarray, truth: np.ndarray, size: tuple[int, int], batch: int) -> list[float]:
    found = []
    for k in range(cells.shape[1]):
        total = weight = 0.0
        for first in range(0, len(cells), batch):
            rows = range(first, min(first + batch, len(cells)))
            right = seen = 0
            for n in rows:
                if truth[n, k, 0] <= 1 or truth[n, k, 1] <= 1:
                    continue
                seen += 1
                dx = (float(cells[n, k, 0]) - float(truth[n, k, 0])) / (size[1] / 10)
                dy = (float(cells[n, k, 1]) - float(truth[n, k, 1])) / (size[0] / 10)
                right += math.sqrt(dx * dx + dy * dy) < 0.5
            if seen:
                total, weight = total + right / seen * len(rows), weight + len(rows)
        found.append(total / weight if weight else math.nan)
    return found


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), batch=st.sampled_from([1, 7, 32]))
def test_reference_protocol_against_a_loop(seed: int, count: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    size = (48, 80)
    truth = rng.integers(0, [20, 12], (count, 4, 2)).astype(np.float32)
    cells = truth + rng.integers(-5, 6, (count, 4, 2)).astype(np.float32)
    hits = metrics.reference_hits(cells, truth, size)
    slow = slow_reference(cells, truth, size, batch)
    np.testing.assert_allclose(metrics.pck_by_batch(hits, batch=batch), slow, rtol=1e-12)


def test_reference_is_strict_where_exact_is_not() -> None:
    # Exactly 3.2 cells, half of a tenth of 64: 3.2 and 6.4 are ½ and 1 of that tenth without a rounding error.
    truth = np.array([[[3.2, 3.2], [3.2, 3.2], [6.4, 6.4], [6.4, 6.4]]])
    at = np.array([[[6.4, 3.2], [6.3999, 3.2], [6.4, 3.2], [6.4, 3.2001]]])
    assert metrics.reference_hits(at, truth, (64, 64)).right.tolist() == [[False, True, False, True]]
    truth = points((10, 10), (10, 10), (10, 10), (10, 10))
    counted = np.ones((1, 4), bool)
    exact = metrics.exact_hits(points((14, 10), (14.001, 10), (10, 6), (10, 10)), truth, counted, np.array([80.0]))
    assert exact.right.tolist() == [[True, False, True, True]]


def test_reference_leaves_out_the_first_two_rows_and_columns() -> None:
    truth = points((1, 10), (2, 10), (10, 1), (0, 0))
    assert metrics.reference_hits(truth, truth, (64, 48)).counted.tolist() == [[False, True, False, False]]


def test_reference_divides_each_axis_by_its_own_size() -> None:
    truth = points((10, 10), (10, 10), (10, 10), (10, 10))
    cells = points((13, 10), (10, 13), (14, 10), (10, 11))
    hits = metrics.reference_hits(cells, truth, (40, 80))  # half a tenth: 4 cells of x, 2 cells of y
    assert hits.right.tolist() == [[True, False, False, True]]


def test_batches_weigh_by_their_size_not_by_what_counts() -> None:
    counted, right = np.zeros((40, 1), bool), np.zeros((40, 1), bool)
    counted[[0, 32, 33, 34, 35]] = True
    right[0] = True  # 1 of 1 in the batch of 32, 0 of 4 in the batch of 8
    hits = Hits(right=right, counted=counted)
    assert metrics.pck_by_batch(hits)[0] == pytest.approx(32 / 40)
    assert metrics.pck(hits)[0] == pytest.approx(1 / 5)
    counted[32:] = False
    assert metrics.pck_by_batch(Hits(right=right, counted=counted))[0] == 1


def test_keypoints_that_never_count_are_left_out_of_means() -> None:
    counted = np.array([[True, False, True, True]])
    hits = Hits(right=np.array([[True, False, False, False]]), counted=counted)
    per_keypoint = metrics.pck(hits)
    assert per_keypoint.tolist() == [1, pytest.approx(math.nan, nan_ok=True), 0, 0]
    assert math.isnan(metrics.pck_by_batch(hits)[1])
    means = metrics.group_means(per_keypoint, SKELETON)
    assert means == {"ab": 1, "c": 0, "head": 0, "mean": 0.5}, "the head is no part of the mean"
    assert math.isnan(metrics.mean_of(np.array([math.nan])))


def test_coordinates_that_are_no_numbers_are_wrong_not_right() -> None:
    predicted = points((math.nan, 1), (1, 1), (1, 1), (1, 1))
    truth = points((1, 1), (1, 1), (math.nan, math.nan), (1, 1))
    counted = np.array([[True, True, False, True]])
    side = np.array([100.0])
    assert metrics.exact_hits(predicted, truth, counted, side).right.tolist() == [[False, True, False, True]]
    area, sigmas = np.array([100.0]), np.full(4, 0.1)
    clean = np.where(np.isnan(predicted), 0, predicted)
    assert metrics.object_keypoint_similarity(clean, truth, counted, area, sigmas)[0] > 0


def test_bootstrap_resamples_images_whole() -> None:
    images = np.array([4, 4, 9, 2, 9, 9])
    weights = metrics.bootstrap_weights(images, rounds=200, seed=3)
    assert weights.shape == (200, 6)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 2], weights[:, 5])
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all(), "as many images are drawn as there are"
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.2)
    assert np.array_equal(weights, metrics.bootstrap_weights(images, rounds=200, seed=3))
    assert not np.array_equal(weights, metrics.bootstrap_weights(images, rounds=200, seed=4))


def test_the_interval_holds_its_value_and_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        hits = random_hits(rng, 120)
        found = metrics.interval(hits, metrics.bootstrap_weights(np.arange(120), rounds=200), SKELETON)
        assert found.low < found.value < found.high
        covered += found.low <= 0.4 <= found.high
    assert covered >= 50, "nominally 57 of 60"


def test_the_interval_of_instances_in_few_images_is_wider() -> None:
    hits = random_hits(np.random.default_rng(1), 200)
    right = np.repeat(hits.right[:20], 10, axis=0)
    together = Hits(right=right, counted=np.repeat(hits.counted[:20], 10, axis=0))
    apart = metrics.interval(together, metrics.bootstrap_weights(np.arange(200)), SKELETON)
    grouped = metrics.interval(together, metrics.bootstrap_weights(np.arange(200) // 10), SKELETON)
    assert grouped.high - grouped.low > 2 * (apart.high - apart.low)


def test_resamples_where_nothing_counts_are_left_out() -> None:
    counted = np.zeros((3, 4), bool)
    counted[0] = True
    hits = Hits(right=counted, counted=counted)
    found = metrics.interval(hits, metrics.bootstrap_weights(np.arange(3)), SKELETON)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    nothing = Hits(right=np.zeros((3, 4), bool), counted=np.zeros((3, 4), bool))
    empty = metrics.interval(nothing, metrics.bootstrap_weights(np.arange(3)), SKELETON)
    assert all(math.isnan(value) for value in (empty.value, empty.low, empty.high))


def test_no_instances_at_all() -> None:
    none = Hits(right=np.zeros((0, 4), bool), counted=np.zeros((0, 4), bool))
    weights = metrics.bootstrap_weights(np.zeros(0, np.int64))
    assert weights.shape == (1000, 0)
    assert math.isnan(metrics.interval(none, weights, SKELETON).value)


def test_paired_difference() -> None:
    rng = np.random.default_rng(2)
    ours = [random_hits(rng, 80) for _ in range(3)]
    weights = metrics.bootstrap_weights(np.arange(80))
    same = metrics.paired_difference(ours, ours, weights, SKELETON)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = [Hits(right=hits.right & (rng.random((80, 4)) < 0.7), counted=hits.counted) for hits in ours]
    found = metrics.paired_difference(ours, worse, weights, SKELETON)
    means = [metrics.group_means(metrics.pck(x), SKELETON)["mean"] for x in (*ours, *worse)]
    assert found.value == pytest.approx(np.mean(means[:3]) - np.mean(means[3:]))
    assert 0 < found.low < found.value < found.high
    back = metrics.paired_difference(worse, ours, weights, SKELETON)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_end_point_error_and_normalised_error() -> None:
    predicted, truth = points((3, 4), (0, 0), (9, 9), (1, 0)), points((0, 0), (0, 0), (0, 0), (0, 0))
    counted = np.array([[True, True, False, True]])
    assert metrics.end_point_error(predicted, truth, counted) == pytest.approx((5 + 0 + 1) / 3)
    assert metrics.normalised_error(predicted, truth, counted, np.array([20.0])) == pytest.approx(6 / 3 / 20)
    assert math.isnan(metrics.end_point_error(predicted, truth, np.zeros((1, 4), bool)))


@pytest.mark.parametrize(("distance", "expected"), [(0.0, 1.0), (100.0, 0.0), (10.0, 0.5), (5.0, 0.75)])
def test_area_under_pck_of_one_distance(distance: float, expected: float) -> None:
    predicted, truth = points((distance, 0), *[(0, 0)] * 3), points(*[(0, 0)] * 4)
    counted = np.array([[True, False, False, False]])
    found = metrics.area_under_pck(predicted, truth, counted, np.array([100.0]))
    assert found == pytest.approx(expected, abs=0.0126), "a step of the curve, by the trapezoid rule"


def test_area_under_pck_by_hand() -> None:
    predicted, truth = points((1, 0), (3, 0), (9, 0), (0, 0)), points(*[(0, 0)] * 4)
    counted = np.array([[True, True, True, False]])
    # share .1, .3, .9; α = 0, .25, .5 → curve 0, 1/3, 2/3 → trapezoid (0/2 + 1/3 + 2/6) / 2
    found = metrics.area_under_pck(predicted, truth, counted, np.array([10.0]), largest=0.5, steps=3)
    assert found == pytest.approx((0 + 1 / 3) / 4 + (1 / 3 + 2 / 3) / 4)
    assert math.isnan(metrics.area_under_pck(predicted, truth, np.zeros((1, 4), bool), np.array([10.0])))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_object_keypoint_similarity_against_the_formula_of_coco(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = (rng.random((3, 4, 2)) * 30).astype(np.float32)
    truth = (rng.random((3, 4, 2)) * 30).astype(np.float32)
    counted, area, sigmas = rng.random((3, 4)) < 0.7, rng.random(3) * 900 + 10, rng.random(4) * 0.1 + 0.02
    found = metrics.object_keypoint_similarity(predicted, truth, counted, area, sigmas)
    for n in range(3):
        values = []
        for k in range(4):
            dx, dy = (predicted[n, k].astype(np.float64) - truth[n, k]).tolist()
            variance = (2 * sigmas[k]) ** 2
            if counted[n, k]:
                values.append(math.exp(-(dx**2 + dy**2) / variance / (area[n] + np.spacing(1)) / 2))
        assert found[n] == pytest.approx(np.mean(values) if values else math.nan, nan_ok=True, rel=1e-9)


def slow_average_precision(similarity: list[float], scores: list[float], threshold: float) -> float:
    """From the definition: at each of 101 recalls, the best precision of any cut that reaches it."""
    ranked = sorted(zip(scores, similarity, strict=True), key=lambda pair: -pair[0])
    cuts = []
    for length in range(1, len(ranked) + 1):
        right = sum(value >= threshold for _, value in ranked[:length])
        cuts.append((right / len(ranked), right / length))
    best = [max((p for r, p in cuts if r >= recall), default=0.0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(best))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_average_precision_against_its_definition(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, scores = rng.random(count), rng.random(count).astype(np.float32)
    found = metrics.average_precision(similarity, scores, np.arange(count), thresholds=metrics.OKS_THRESHOLDS)
    assert list(found) == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    for threshold, value in found.items():
        assert value == pytest.approx(slow_average_precision(similarity.tolist(), scores.tolist(), threshold))


def test_average_precision_ignores_instances_without_keypoints() -> None:
    similarity, scores = np.array([0.9, np.nan, 0.2]), np.array([0.1, 0.9, 0.8], np.float32)
    found = metrics.average_precision(similarity, scores, np.arange(3), thresholds=(0.5,))
    # of two: a miss first, then a hit, so precision ½ up to recall ½ and nothing beyond
    assert found[0.5] == pytest.approx(0.5 * 51 / 101)
    nothing = metrics.average_precision(np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.int64), thresholds=(0.5,))
    assert math.isnan(nothing[0.5])
