"""Each collapse is found and named, and nothing of it is found in poses that are as the source's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseshift.data import sources
from poseshift.engine import collapse
from poseshift.engine.collapse import Reference
from poseshift.errors import CheckpointError

SIZE = 80.0


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    """Poses of procedural people in pixels of 80: of the source, and of another domain."""
    found = {}
    for name, spec in {
        "source": "figures:plain,side=80,count=2000",
        "target": "figures:middle,side=80,count=200",
    }.items():
        found[name] = sources.read(spec).keypoints
    return found


@pytest.fixture(scope="module")
def skeleton_pairs() -> tuple[tuple[int, int], ...]:
    return sources.read("figures:plain,side=80,count=1").skeleton.flip_pairs


@pytest.fixture(scope="module")
def usual(people: dict[str, np.ndarray], skeleton_pairs: tuple[tuple[int, int], ...]) -> Reference:
    found = collapse.reference(people["source"], labelled(people["source"]), skeleton_pairs, size=SIZE)
    assert found is not None
    assert found.power is not None
    assert found.power > 0.8
    return found


def labelled(poses: np.ndarray) -> np.ndarray:
    return np.full(poses.shape[:2], 2, np.uint8)


def exchanged(poses: np.ndarray, pairs: tuple[tuple[int, int], ...], rows: slice = slice(None)) -> np.ndarray:
    out = poses.copy()
    for left, right in pairs:
        out[rows, left], out[rows, right] = poses[rows, right], poses[rows, left]
    return out


def noisy(poses: np.ndarray, pixels: float) -> np.ndarray:
    return (poses + np.random.default_rng(0).normal(0, pixels, poses.shape)).astype(np.float32)


Change = Callable[[np.ndarray, tuple[tuple[int, int], ...]], np.ndarray]
CASES: dict[str, tuple[Change, str | None]] = {
    "healthy": (lambda poses, pairs: poses, None),
    "healthy and imprecise": (lambda poses, pairs: noisy(poses, 3.0), None),
    "healthy, small and elsewhere": (lambda poses, pairs: 0.5 * poses + 30, None),
    "one pixel": (lambda poses, pairs: np.full_like(poses, 37.0), "one_place"),
    "a pixel of each image": (lambda poses, pairs: np.repeat(poses[:, :1], poses.shape[1], 1), "one_place"),
    "one spot": (lambda poses, pairs: noisy(np.full_like(poses, 37.0), 1.0), "one_place"),
    "one pixel in every other image": (
        lambda poses, pairs: np.where(np.arange(len(poses))[:, None, None] % 2, poses, poses[:, :1]), "one_place",
    ),
    "the mean pose": (lambda poses, pairs: np.repeat(poses.mean(0, keepdims=True), len(poses), 0), "mean_pose"),
    "the mean pose, placed and sized by the image": (
        lambda poses, pairs: poses.mean((1, 2), keepdims=True) * 0.5 + (0.5 + poses[:, :1, :1] / 160) * poses.mean(0),
        "mean_pose",
    ),
    "the mean pose with some noise": (
        lambda poses, pairs: noisy(np.repeat(poses.mean(0, keepdims=True), len(poses), 0), 1.0), "mean_pose",
    ),
    "sides exchanged": (exchanged, "exchanged_sides"),
    "sides exchanged and imprecise": (lambda poses, pairs: noisy(exchanged(poses, pairs), 3.0), "exchanged_sides"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("of", ["source", "target"])
def test_each_collapse_is_named_and_no_other(
    case: str, of: str, people: dict[str, np.ndarray], usual: Reference, skeleton_pairs: tuple[tuple[int, int], ...]
) -> None:
    change, name = CASES[case]
    found = collapse.measure(change(people[of], skeleton_pairs), usual, size=SIZE)
    assert [one.name for one in found if one.found] == ([] if name is None else [name])
    assert [one.name for one in found] == ["one_place", "mean_pose", "exchanged_sides"]


def test_the_limits_have_room_on_both_sides(
    people: dict[str, np.ndarray], usual: Reference, skeleton_pairs: tuple[tuple[int, int], ...]
) -> None:
    """On a domain that the reference has not seen: half of the limit, or twice of it."""
    healthy = {one.name: one.value for one in collapse.measure(people["target"], usual, size=SIZE)}
    assert healthy["one_place"] == 0
    assert (healthy["mean_pose"] or 0) > 2 * collapse.LIMITS["mean_pose"]
    assert (healthy["exchanged_sides"] or 100) < 0.6 * collapse.LIMITS["exchanged_sides"]
    swapped = collapse.measure(exchanged(people["target"], skeleton_pairs), usual, size=SIZE)[-1].value
    assert swapped == pytest.approx(100 - (healthy["exchanged_sides"] or 0))


def test_rows_show_what_was_found(
    people: dict[str, np.ndarray], usual: Reference, skeleton_pairs: tuple[tuple[int, int], ...]
) -> None:
    poses = people["target"].copy()
    poses[[5, 9]] = 40.0
    found = {one.name: one for one in collapse.measure(poses, usual, size=SIZE)}
    assert set(found["one_place"].rows) == {5, 9}
    assert not {5, 9} & {*found["mean_pose"].rows, *found["exchanged_sides"].rows}
    assert len(found["mean_pose"].rows) == len(poses) - 2
    half = collapse.measure(exchanged(people["target"], skeleton_pairs, slice(0, 150)), usual, size=SIZE)[-1]
    assert half.found
    assert np.mean(np.array(half.rows[:40]) < 150) > 0.9


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 6), keypoints=st.integers(2, 6))
def test_measures_against_loops(seed: int, count: int, keypoints: int) -> None:
    poses = np.random.default_rng(seed).random((count, keypoints, 2)) * 50
    shapes = []
    for number, pose in enumerate(poses):
        middle = [sum(point[axis] for point in pose) / keypoints for axis in (0, 1)]
        spread = math.sqrt(sum(math.dist(point, middle) ** 2 for point in pose) / keypoints)
        assert collapse.spreads(poses)[number] == pytest.approx(spread)
        shapes.append([[(point[axis] - middle[axis]) / spread for axis in (0, 1)] for point in pose])
    np.testing.assert_allclose(collapse.shapes(poses), shapes)
    total = 0.0
    for k in range(keypoints):
        mean = [sum(shape[k][axis] for shape in shapes) / count for axis in (0, 1)]
        total += sum(math.dist(shape[k], mean) ** 2 for shape in shapes)
    assert collapse.variety_of(np.array(shapes)) == pytest.approx(math.sqrt(total / count / keypoints))


def test_features_change_their_sign_with_the_sides() -> None:
    pairs = ((0, 3), (4, 1))
    poses = np.random.default_rng(0).random((5, 6, 2))
    features = collapse.odd_features(poses, pairs)
    assert features.shape == (5, 4 * (1 + 4 + 4))
    np.testing.assert_allclose(collapse.odd_features(exchanged(poses, pairs), pairs), -features)
    assert np.abs(features).max() > 0.1


def test_sides_that_poses_do_not_show_are_not_judged() -> None:
    """Left and right are drawn at random: no judge can tell them."""
    poses = np.random.default_rng(0).random((300, 6, 2)).astype(np.float32) * 50
    found = collapse.reference(poses, labelled(poses), ((0, 1), (2, 3)), size=SIZE)
    assert found is not None
    assert found.sides is None
    assert found.power == pytest.approx(0.5, abs=0.12)
    assert collapse.measure(poses, found, size=SIZE)[-1].value is None
    assert not collapse.measure(poses, found, size=SIZE)[-1].found
    without = collapse.reference(poses, labelled(poses), (), size=SIZE)
    assert without is not None
    assert without.power is None


def test_keypoints_that_the_source_does_not_label_are_left_out(
    people: dict[str, np.ndarray], skeleton_pairs: tuple[tuple[int, int], ...]
) -> None:
    visible, poses = labelled(people["source"]), people["source"].copy()
    visible[:, 2] = 0
    poses[:, 2] = 0
    visible[::20, 5] = 0
    poses[::20, 5] = 0
    found = collapse.reference(poses, visible, skeleton_pairs, size=SIZE)
    assert found is not None
    assert found.keypoints == tuple(k for k in range(14) if k != 2)
    assert len(found.pairs) == len(skeleton_pairs) - 1
    whole = np.flatnonzero(visible[:, 5] > 0)
    expected = np.median(collapse.spreads(poses[whole][:, list(found.keypoints)].astype(np.float64))) / SIZE
    assert found.spread == pytest.approx(expected)


@pytest.mark.parametrize("count", [0, 7])
def test_few_poses_are_no_reference(count: int, people: dict[str, np.ndarray]) -> None:
    poses = people["source"][:count]
    assert collapse.reference(poses, labelled(poses), (), size=SIZE) is None
    same = np.repeat(people["source"][:1], 20, 0)
    assert collapse.reference(same, labelled(same), (), size=SIZE) is None


def test_a_reference_is_read_back_from_json(usual: Reference) -> None:
    assert collapse.reference_of(json.loads(json.dumps(usual.to_json())), origin="x") == usual
    for wrong in ({}, {**usual.to_json(), "pairs": 3}, {**usual.to_json(), "more": 1}):
        with pytest.raises(CheckpointError, match="its start: no reference of poses"):
            collapse.reference_of(wrong, origin="its start")
