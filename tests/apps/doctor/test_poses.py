from __future__ import annotations

import numpy as np
import pytest

from poseshift.apps.doctor import poses
from poseshift.data.skeletons import from_names
from poseshift.types import FloatArray

NAMES = ("nose", "left_paw", "right_paw", "tail")
SKELETON = from_names("mouse", NAMES)
SHAPE = np.array([(50, 10), (30, 60), (60, 70), (45, 95)], np.float64)
"""Not symmetric, so that mirrored and plain cannot be confused."""
SQUARE = np.array([[0, 0, 100, 100]], np.float32)


def turned(
    degrees: float, *, scale: float = 1.0, shift: tuple[float, float] = (0, 0), mirrored: bool = False
) -> FloatArray:
    points = SHAPE - SHAPE.mean(0)
    if mirrored:
        points = (points * [-1, 1])[list(SKELETON.flip_index)]
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (scale * points @ matrix.T + 50 + shift).astype(np.float32)


def described(shapes: list[FloatArray], visible: np.ndarray | None = None) -> poses.Poses:
    points = np.stack(shapes)
    told = np.full(points.shape[:2], 2, np.uint8) if visible is None else visible
    return poses.describe(SKELETON, points, told, SQUARE.repeat(len(points), 0))


def test_orientation_is_the_rotation_whatever_size_and_place() -> None:
    angles = [-30.0, -10, 0, 15, 25]
    found = described([turned(a, scale=0.5 + 0.1 * i, shift=(i, -i)) for i, a in enumerate(angles)])
    mean = np.degrees(np.angle(np.exp(1j * np.radians(angles)).mean()))
    np.testing.assert_allclose(found.angles, np.array(angles) - mean, atol=1e-2)
    length = abs(np.exp(1j * np.radians(angles)).mean())
    assert found.turn == pytest.approx(np.degrees(np.sqrt(-2 * np.log(length))), abs=1e-2)
    assert found.variety == pytest.approx(0, abs=1e-4)


def test_a_mirrored_animal_is_the_same_animal() -> None:
    """Seen from the other side, with left and right exchanged: no other pose, and turned as it is turned."""
    angles = [-20.0, -10, 0, 10, 20]
    shapes = [turned(a) for a in angles] + [turned(a, mirrored=True) for a in angles]
    found = described(shapes)
    assert found.variety == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(found.angles, angles + angles, atol=0.5)


def test_all_directions_have_no_common_one() -> None:
    found = described([turned(a) for a in range(0, 360, 30)])
    assert found.turn is not None
    assert found.turn > 200


def test_variety_is_what_alignment_leaves() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (400, 4, 2)).astype(np.float32)
    found = described([turned(rng.uniform(-40, 40)) + one for one in noise])
    assert found.variety is not None
    # of 8 coordinates the alignment takes 4, so half of the variance of 2·3² is left; the body is 85 long
    assert found.variety == pytest.approx(np.sqrt(0.5 * 2 * 9) / 85, rel=0.15)


def test_places_and_shares() -> None:
    shapes = [turned(0), turned(0, shift=(10, 0)), turned(0, shift=(20, 0))]
    visible = np.array([[2, 2, 0, 1], [2, 0, 0, 1], [2, 2, 0, 1]], np.uint8)
    found = described(shapes, visible)
    np.testing.assert_allclose(found.labelled, [1, 2 / 3, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found.visible, [1, 2 / 3, 0, 0], atol=1e-6)
    nose = turned(0)[0] / 100
    np.testing.assert_allclose(found.mean[0], nose + np.array([0.1, 0]), atol=1e-5)
    np.testing.assert_allclose(found.spread[0], [np.sqrt(2 / 3) / 10, 0], atol=1e-5)
    assert np.isnan(found.mean[2]).all()
    np.testing.assert_allclose(found.extent[1], 0.85, atol=1e-5)


def test_facing_is_where_the_head_is() -> None:
    """Nose to the left of the rest, to the right, above."""
    found = described([turned(-90), turned(-90), turned(90), turned(0)])
    assert found.facing == pytest.approx({"left": 0.5, "right": 0.25, "neither": 0.25})
    headless = from_names("box", ["a", "b", "c", "d"])
    told = np.full((1, 4), 2, np.uint8)
    assert poses.describe(headless, turned(0)[None], told, SQUARE).facing is None


def test_nothing_labelled() -> None:
    found = described([turned(0)], np.zeros((1, 4), np.uint8))
    assert (found.turn, found.variety, found.facing, len(found.angles)) == (None, None, None, 0)
    assert found.extent.tolist() == [0]
