from __future__ import annotations

import logging
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from poseshift.data import formats
from poseshift.data.crops import CropConfig, Crops
from poseshift.data.images import ImageFiles
from poseshift.errors import DataError
from poseshift.types import Annotations, Skeleton

HEIGHT, WIDTH, SIZE = 90, 150, 48
SKELETON = Skeleton(name="two", keypoints=("a", "b"))


def annotations(root: Path, count: int = 4) -> Annotations:
    """Images with a bright dot at keypoint ``a``, one instance each, boxes of different shapes."""
    rng = np.random.default_rng(0)
    keypoints = np.stack([rng.uniform(50, 100, (count, 2)), rng.uniform(30, 60, (count, 2))], -1).astype(np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for row in range(count):
        blob = np.exp(-((x - keypoints[row, 0, 0]) ** 2 + (y - keypoints[row, 0, 1]) ** 2) / (2 * 3.0**2))
        Image.fromarray(np.repeat((blob * 255).astype(np.uint8)[..., None], 3, 2)).save(root / f"{row}.png")
    boxes = np.array([[20, 10, 130, 70], [40, 5, 110, 85], [30, 20, 120, 75], [10, 0, 140, 89]], np.float32)[:count]
    return Annotations(
        name="dots",
        images=ImageFiles(root=root, paths=tuple(f"{row}.png" for row in range(count))),
        image_index=np.arange(count),
        skeleton=SKELETON,
        keypoints=keypoints,
        visible=np.full((count, 2), 2, np.uint8),
        boxes=boxes,
        groups=np.array([""] * count),
        categories=np.array([""] * count),
    )


@pytest.mark.parametrize("boxes", ["given", "whole"])
@pytest.mark.parametrize("margin", [0, 10])
def test_the_dot_lies_where_the_canonical_keypoint_says(tmp_path: Path, boxes: str, margin: int) -> None:
    crops = Crops(annotations(tmp_path), CropConfig(boxes=boxes), size=SIZE, margin=margin)
    for row in range(len(crops)):
        item = crops[row]
        assert item.row == row
        assert item.failed == ()
        assert item.crop.shape == (3, SIZE + 2 * margin, SIZE + 2 * margin)
        grey = item.crop[0].double().numpy()
        y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
        found = np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum() - margin
        assert np.linalg.norm(found - crops.keypoints[row, 0]) < 0.1


def test_to_image_undoes_to_canonical(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    crops = Crops(data, CropConfig(), size=SIZE, margin=7)
    np.testing.assert_allclose(crops.to_image(crops.keypoints), data.keypoints, atol=1e-3)
    part = crops.to_image(crops.keypoints[1:3], slice(1, 3))
    np.testing.assert_allclose(part, data.keypoints[1:3], atol=1e-3)
    regions = crops.regions
    np.testing.assert_allclose(crops.scale, SIZE / (regions[:, 2] - regions[:, 0]), rtol=1e-6)
    corners = crops.to_canonical(regions.reshape(-1, 2, 2))
    np.testing.assert_allclose(corners, np.tile([[-0.5, -0.5], [SIZE - 0.5] * 2], (4, 1, 1)), atol=1e-4)


def test_a_broken_image_gives_way_to_the_next_and_is_named(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    for row in (1, 2):
        (tmp_path / f"{row}.png").write_bytes(b"no image")
    crops = Crops(data, CropConfig(), size=SIZE)
    item = crops[1]
    assert (item.row, item.failed) == (3, (1, 2))
    assert (item.crop == crops[3].crop).all()
    (tmp_path / "3.png").write_bytes(b"no image")
    assert crops[2].row == 0, "after the last row comes the first"


def test_when_nothing_decodes_it_says_so(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"4 images in turn do not decode, the last: .*\.png") as caught:
        Crops(data, CropConfig(), size=SIZE)[0]
    assert "\n" not in str(caught.value)


def test_the_cache_decodes_each_image_once(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    plain = Crops(data, CropConfig(), size=SIZE, margin=3)
    cached = Crops(data, CropConfig(), size=SIZE, margin=3, cache_bytes=10**6)
    assert plain.cache is None
    for row in range(4):
        assert (cached[row].crop == plain[row].crop).all()
    for path in tmp_path.iterdir():
        path.unlink()
    assert (cached[2].crop > 0).any()
    with pytest.raises(DataError):
        plain[2]


def test_a_cache_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    side = SIZE + 6
    data = annotations(tmp_path)
    assert Crops(data, CropConfig(), size=SIZE, margin=3, cache_bytes=4 * side * side * 3 - 1).cache is None
    assert Crops(data, CropConfig(), size=SIZE, margin=3, cache_bytes=4 * side * side * 3).cache is not None


def test_crops_travel_to_a_worker(tmp_path: Path) -> None:
    crops = Crops(annotations(tmp_path), CropConfig(), size=SIZE, margin=3)
    again = ForkingPickler.loads(ForkingPickler.dumps(crops))
    assert (again[1].crop == crops[1].crop).all()


class InPairs(ImageFiles):
    """Files that are fetched two at a time."""

    def units(self, images: np.ndarray) -> np.ndarray:
        return images // 2


def test_what_is_fetched_together_matters_only_without_a_cache(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    assert Crops(data, CropConfig(), size=SIZE).units is None
    pairs = replace(data, images=InPairs(root=tmp_path, paths=data.images.paths)).select([3, 0, 1, 2])
    units = Crops(pairs, CropConfig(), size=SIZE).units
    assert units is not None
    assert units.tolist() == [1, 0, 0, 1]
    assert Crops(pairs, CropConfig(), size=SIZE, cache_bytes=10**6).units is None


def test_shared_crops_are_decoded_once() -> None:
    annotations = formats.read("figures:plain,side=48,count=3")
    store: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    first = Crops(annotations, CropConfig(boxes="whole"), size=32, cache_bytes=10**6)
    first.share(store, "figures 32")
    shown = first[1].crop
    other = Crops(annotations, CropConfig(boxes="whole"), size=32, cache_bytes=10**6)
    other.share(store, "figures 32")
    assert other.filled is not None
    assert other.filled.tolist() == [False, True, False]
    assert other[1].crop.data_ptr() == shown.data_ptr()


@pytest.mark.parametrize(("boxless", "boxes", "warns"), [(0, "auto", False), (1, "auto", True), (4, "auto", False),
                                                         (1, "whole", False)])  # fmt: skip
def test_some_instances_without_a_box_are_not_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, boxless: int, boxes: str, warns: bool
) -> None:
    data = annotations(tmp_path)
    data.boxes[:boxless] = np.nan
    with caplog.at_level(logging.WARNING):
        crops = Crops(data, CropConfig(boxes=boxes), size=SIZE)
    assert crops.boxes == ("whole" if boxless or boxes == "whole" else "given")
    assert ("1 of 4 instances have no box, so all are cut as whole images" in caplog.text) == warns
