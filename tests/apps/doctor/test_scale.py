from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poseshift.apps.doctor import samples, scale
from poseshift.apps.doctor.examination import Examination
from poseshift.data import formats
from poseshift.data.crops import CropConfig


def test_sizes_are_those_of_boxes_and_crops() -> None:
    data = formats.read("figures:plain,side=50,count=4")
    boxes = np.array([[10, 10, 30, 50], [0, 0, 20, 20], [5, 5, 45, 15], [1, 1, 9, 41]], np.float32)
    data = replace(data, boxes=boxes, image_index=np.array([0, 1, 1, 3]))
    found = scale.describe(samples.draw(data, CropConfig(), size=32, count=4, seed=0, role="source"))
    assert (found.instances, found.images, found.boxed, found.crowded) == (4, 3, 1.0, 0.5)
    np.testing.assert_allclose(found.boxes, [[20, 40], [20, 20], [40, 10], [8, 40]])
    np.testing.assert_allclose(found.side, np.array([40, 20, 40, 40]) * 1.25)
    np.testing.assert_allclose(found.fill, 0.8)
    np.testing.assert_allclose(found.aspect, [0.5, 1, 4, 0.2])
    assert found.sizes.tolist() == [[50, 50]] * 4
    whole = scale.describe(samples.draw(data, CropConfig(boxes="whole"), size=32, count=4, seed=0, role="source"))
    np.testing.assert_allclose(whole.fill, [0.8, 0.4, 0.8, 0.8])


def test_boxes_that_are_missing() -> None:
    data = formats.read("figures:plain,side=50,count=4")
    boxes = data.boxes.copy()
    boxes[2] = np.nan
    found = scale.describe(
        samples.draw(replace(data, boxes=boxes), CropConfig(), size=32, count=4, seed=0, role="source")
    )
    assert found.boxed == 0.75
    assert np.isnan(found.fill).tolist() == [False, False, True, False]
    assert len(found.aspect) == 3


def test_twins_agree_in_every_cell() -> None:
    one = np.full(1024, 0.5, np.float32)
    near, far = one + 0.05, one.copy()
    far[7] -= 0.1
    assert scale.twins(np.stack([one, near, far])) == pytest.approx(2 / 3)
    assert scale.twins(np.stack([one, far])) == 0
    assert scale.twins(one[None]) == 0


def test_a_frame_saved_again_is_a_twin(healthy: Examination) -> None:
    assert scale.describe(healthy.source).twins == 0
    crops = healthy.source.crops.copy()
    crops[1] = np.clip(crops[0].astype(int) + np.random.default_rng(0).integers(-6, 7, crops[0].shape), 0, 255)
    assert scale.describe(replace(healthy.source, crops=crops)).twins == pytest.approx(2 / len(crops))
