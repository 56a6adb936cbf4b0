import numpy as np
from tests import tiny

from poseshift.apps.export.pictures import crops_of, pixels
from poseshift.engine.run import Run, open_run


def test_the_target_spread_over_its_images_and_without_labels(trained: Run) -> None:
    crops, name = crops_of(trained, 4)
    assert name == "images of the target, figures-middle"
    assert crops.annotations.image_index.tolist() == [0, 4, 7, 11]
    assert crops.annotations.keypoints.shape == (4, 0, 2)
    assert (crops.size, crops.boxes, crops.margin) == (32, "whole", 0)
    assert pixels(crops, [0, 3]).shape == (2, 32, 32, 3)
    assert len(crops_of(trained, 50)[0]) == 12


def test_a_run_without_a_target_is_tried_on_its_source(trained: Run) -> None:
    other = open_run(trained.path)
    other.__dict__["config"] = tiny.settings(change={"target": None})
    crops, name = crops_of(other, 3)
    assert name == "images of the source, figures-source"
    np.testing.assert_array_equal(crops.annotations.image_index, [0, 8, 15])
