import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from poseshift.apps.export.graph import Deployed, _calibrated, whole
from poseshift.engine.calibration import Calibration

POINTS = [(6.0, 25.0), (20.3, 11.2)]


def test_keypoints_lie_in_the_image_that_crops_were_cut_from() -> None:
    deployed = Deployed(tiny.Says(POINTS), size=32, flip_index=None, calibration=None)
    crops = torch.zeros((2, 32, 32, 3), dtype=torch.uint8)
    regions = torch.tensor([[-0.5, -0.5, 31.5, 31.5], [10.0, -6.0, 26.0, 10.0]])
    keypoints, scores = deployed(crops, regions)
    np.testing.assert_allclose(keypoints[0], POINTS, atol=0.01)
    np.testing.assert_allclose(keypoints[1], [((x + 0.5) / 2 + 10, (y + 0.5) / 2 - 6) for x, y in POINTS], atol=0.01)
    assert scores.shape == (2, 2)
    np.testing.assert_array_equal(whole(32, 2)[1], [-0.5, -0.5, 31.5, 31.5])


def test_a_flip_test_exchanges_left_and_right() -> None:
    """A net that says the same of both images has its answers averaged with the other side's mirror."""
    points = [(4.0, 10.0), (27.0, 10.0)]
    flipped = Deployed(tiny.Says(points), size=32, flip_index=(1, 0), calibration=None)
    keypoints, _ = flipped(torch.zeros((1, 32, 32, 3), dtype=torch.uint8), whole(32))
    np.testing.assert_allclose(keypoints[0], points, atol=0.01)  # 31 - 27 = 4: the mirror agrees


@given(
    raw=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    slope=st.floats(0, 20),
    intercept=st.floats(-10, 10),
    shift=st.floats(-10, 10),
)
def test_calibration_inside_is_calibration_outside(
    raw: list[float], slope: float, intercept: float, shift: float
) -> None:
    known = Calibration(
        slope=slope, intercept=intercept, shift=shift, held="source", right_source=0.5, agreement_source=0.5
    )
    scores = np.array([raw], np.float32)
    np.testing.assert_allclose(_calibrated(torch.from_numpy(scores), known), known(scores), atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_regions_of_whole_crops(count: int) -> None:
    assert whole(64, count).shape == (count, 4)
