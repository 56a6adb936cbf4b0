from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from poseshift.data.boxes import MINIMUM_SIDE, BoxMode, crop_regions
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations


class Pictures:
    """Images that only know how to be read."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes, self.reads = sizes, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, index: int) -> np.ndarray:
        self.reads += 1
        width, height = self.sizes[index]
        return np.zeros((height, width, 3), np.uint8)

    def key(self, index: int) -> str:
        return f"picture {index}"


def annotate(keypoints: np.ndarray, visible: np.ndarray, boxes: np.ndarray) -> Annotations:
    n, k = visible.shape
    return Annotations(
        name="test",
        images=Pictures([(31, 17), (20, 44)]),
        image_index=np.arange(n) % 2,
        skeleton=from_names("s", [f"k{i}" for i in range(k)]),
        keypoints=keypoints.astype(np.float32),
        visible=visible.astype(np.uint8),
        boxes=boxes.astype(np.float32),
        groups=np.array(["g"] * n),
        categories=np.array(["c"] * n),
    )


@pytest.fixture
def three() -> Annotations:
    keypoints = np.array([[[2, 3], [22, 13], [90, 90]], [[5, 5], [7, 9], [6, 30]], [[4, 4], [0, 0], [0, 0]]])
    visible = np.array([[2, 1, 0], [2, 2, 2], [1, 0, 0]])
    return annotate(keypoints, visible, np.array([[0, 0, 10, 20], [-5, 2, 25, 12], [1, 1, 2, 2]]))


def test_given_boxes_become_padded_squares_about_their_centre(three: Annotations) -> None:
    found = crop_regions(three, "given", padding=1.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [-10, -5, 20, 25])
    np.testing.assert_allclose(found[1], [-12.5, -15.5, 32.5, 29.5])


def test_a_tiny_box_keeps_a_minimal_side(three: Annotations) -> None:
    found = crop_regions(three, "given", padding=2)
    assert found[2, 2] - found[2, 0] == 2 * MINIMUM_SIDE


def test_boxes_from_keypoints_pass_over_what_is_not_labelled(three: Annotations) -> None:
    found = crop_regions(three, "from_keypoints", padding=1)
    np.testing.assert_allclose(found[0], [2, -2, 22, 18])
    np.testing.assert_allclose(found[1], [6 - 12.5, 5, 6 + 12.5, 30])
    np.testing.assert_allclose(found[2], [0, 0, 8, 8])


def test_whole_is_the_square_by_the_long_side(three: Annotations) -> None:
    found = crop_regions(three, "whole", padding=9)
    np.testing.assert_allclose(found[0], [-0.5, 8 - 15.5, 30.5, 8 + 15.5])
    np.testing.assert_allclose(found[1], [9.5 - 22, -0.5, 9.5 + 22, 43.5])
    assert isinstance(three.images, Pictures)
    assert three.images.reads == 2


def test_whole_reads_headers_of_files(tmp_path: Path, three: Annotations) -> None:
    for name, size in (("a.png", (33, 21)), ("b.png", (10, 12))):
        Image.new("RGB", size).save(tmp_path / name)
    images = ImageFiles(root=tmp_path, paths=("a.png", "b.png"))
    found = crop_regions(replace(three, images=images), "whole")
    np.testing.assert_allclose(found[:, 2] - found[:, 0], [33, 12, 33])


@pytest.mark.parametrize("broken", [[np.nan] * 4, [5, 5, 5, 9], [5, 9, 6, 3]])
def test_a_missing_or_empty_box_is_named(three: Annotations, broken: list[float]) -> None:
    three.boxes[1] = broken
    with pytest.raises(DataError, match=r"1 of 3 instances have no box, the first in 'picture 1'; .*whole"):
        crop_regions(three, "given")


def test_an_instance_without_keypoints_is_named(three: Annotations) -> None:
    three.visible[2] = 0
    with pytest.raises(DataError, match=r"1 of 3 instances have no labelled keypoint, the first in 'picture 0'"):
        crop_regions(three, "from_keypoints")
    with pytest.raises(DataError, match="3 of 3 instances have no labelled keypoint"):
        crop_regions(three.without_labels(), "from_keypoints")


def test_unknown_mode_and_padding_are_usage_errors(three: Annotations) -> None:
    with pytest.raises(UsageError, match="given, from_keypoints, whole"):
        crop_regions(three, "tight")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not above 0"):
        crop_regions(three, "given", padding=0)


@pytest.mark.parametrize("mode", get_args(BoxMode))
def test_no_instances_give_no_regions(three: Annotations, mode: BoxMode) -> None:
    assert crop_regions(three.select([]), mode).shape == (0, 4)


@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(0.1, 4))
def test_regions_are_squares_that_hold_their_keypoints(n: int, seed: int, padding: float) -> None:
    rng = np.random.default_rng(seed)
    keypoints, visible = rng.uniform(-50, 300, (n, 5, 2)), rng.integers(0, 3, (n, 5))
    visible[:, 0] = 2
    regions = crop_regions(annotate(keypoints, visible, np.zeros((n, 4))), "from_keypoints", padding=padding)
    np.testing.assert_allclose(regions[:, 2] - regions[:, 0], regions[:, 3] - regions[:, 1], atol=1e-3)
    if padding >= 1:
        inside = (keypoints >= regions[:, None, :2] - 1e-3) & (keypoints <= regions[:, None, 2:] + 1e-3)
        assert inside.all(axis=2)[visible > 0].all()
