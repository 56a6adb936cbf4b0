from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.formats.miniatures import rhd as miniature

from poseshift.data.formats import rhd
from poseshift.data.skeletons.hands import HAND21
from poseshift.errors import DataError, FormatError, UsageError


@pytest.mark.parametrize("protocol", range(6))
def test_hands_that_are_large_visible_and_apart_are_kept(tmp_path: Path, protocol: int) -> None:
    data = rhd.read(miniature.write(tmp_path, protocol))
    assert [(r.key, r.category) for r in data] == [
        ("training/color/00000.png", "left"),
        ("training/color/00000.png", "right"),
        ("evaluation/color/00003.png", "right"),
    ]
    assert data.skeleton is HAND21
    assert data.groups.tolist() == [r.key for r in data]
    # In the file each finger runs from tip to base: joints 0, 4, 3, 2, 1, 8, ...
    order = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
    np.testing.assert_allclose(data.keypoints[0, :, 0], 10 + 5 * np.array(order), rtol=1e-6)
    np.testing.assert_allclose(data.boxes[0], [10, 20, 110, 110])
    np.testing.assert_array_equal(data.visible[2], [2 if i < 17 else 1 for i in order])
    assert data.images.read(int(data.image_index[2])).shape == (320, 320, 3)


def test_splits_and_hands(tmp_path: Path) -> None:
    (tmp_path / "RHD_published_v2").mkdir()
    path = str(tmp_path)
    miniature.write(tmp_path / "RHD_published_v2")
    assert len(rhd.read(path, split="train")) == 2
    assert rhd.read(path, split="test").categories.tolist() == ["right"]
    assert rhd.read(f"{path}@hand=left").categories.tolist() == ["left"]
    assert len(rhd.read(f"{path}@hand=right")) == 2
    assert len(rhd.read(f"{path}@hand=both", split="all")) == 3
    seen = rhd.read(f"{path}@hand=right,visible_only", split="test")
    assert set(np.unique(seen.visible)) == {0, 2}
    assert not seen.keypoints[seen.visible == 0].any()
    with pytest.raises(DataError, match="no left hand"):
        rhd.read(f"{path}@hand=left", split="test")
    with pytest.raises(
        UsageError, match=r"unknown option 'hand=middle'.*hand=left, hand=right, hand=both, mirror=left, .*visible_only"
    ):
        rhd.read(f"{path}@hand=middle")
    with pytest.raises(UsageError, match="no split 'val'; expected one of all, train, test"):
        rhd.read(path, split="val")


def test_hands_are_mirrored_to_one_side(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    for number, colour in ((0, (200, 0, 0)), (3, (0, 0, 200))):  # the left half of each image is coloured
        for file in tmp_path.rglob(f"{number:05d}.png"):
            image = Image.new("RGB", (320, 320))
            image.paste(colour, (0, 0, 160, 320))
            image.save(file)
    plain, left = rhd.read(path), rhd.read(f"{path}@mirror=left")
    assert left.categories.tolist() == ["left"] * 3
    assert [r.key for r in left] == [plain[0].key, f"{plain[1].key} (mirrored)", f"{plain[2].key} (mirrored)"]
    assert left.groups.tolist() == plain.groups.tolist()
    np.testing.assert_array_equal(left.keypoints[0], plain.keypoints[0])
    np.testing.assert_array_equal(left.keypoints[1:, :, 0], 319 - plain.keypoints[1:, :, 0])
    np.testing.assert_array_equal(left.keypoints[1:, :, 1], plain.keypoints[1:, :, 1])
    np.testing.assert_array_equal(left.boxes[1:, [0, 2]], 319 - plain.boxes[1:, [2, 0]])
    for row in range(3):
        before, after = plain.images.read(int(plain.image_index[row])), left.images.read(int(left.image_index[row]))
        np.testing.assert_array_equal(after, before[:, ::-1] if row else before)
    right = rhd.read(f"{path}@mirror=right,hand=left")
    assert [(r.key, r.category) for r in right] == [(f"{plain[0].key} (mirrored)", "right")]
    assert left.images.size(int(left.image_index[1])) == (320, 320)
    assert "All hands are mirrored to be left ones." in left.note
    with pytest.raises(UsageError, match="mirror= need labels, which are not looked at here"):
        rhd.read(f"{path}@mirror=left", labelled=False)


def published(hand: np.ndarray, other: np.ndarray, flags: np.ndarray) -> bool:
    """The published selection of one hand, written from its description, one hand at a time."""
    box = [*hand.min(axis=0), *hand.max(axis=0)]
    against = [*other.min(axis=0), *other.max(axis=0)]
    side = min(round(1.5 * max(box[2] - box[0], box[3] - box[1])), 320)
    square = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        start = round((low + high) / 2 - side / 2)
        end = start + side - 1
        if start < 0:
            start, end = 0, side - 1
        if end >= 320:
            start, end = 320 - side, 319
        square.append((start, end))
    width = max(0, min(square[0][1], against[2]) - max(square[0][0], against[0]) + 1)
    height = max(0, min(square[1][1], against[3]) - max(square[1][0], against[1]) + 1)
    return bool(side - 1 > 64 and flags.sum() > 16 and width * height / side**2 < 0.3)


def test_the_selection_is_the_published_one() -> None:
    random = np.random.default_rng(0)
    centre = random.uniform(0, 320, (400, 2, 1, 2))
    points = centre + random.uniform(-1, 1, (400, 2, 21, 2)) * random.uniform(10, 150, (400, 2, 1, 1))
    flags = random.random((400, 2, 21)) < 0.9
    found = rhd._kept(np.concatenate([points, flags[..., None]], axis=-1))
    expected = [[published(points[i, h], points[i, 1 - h], flags[i, h]) for h in (0, 1)] for i in range(400)]
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < found.mean() < 0.9


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"anno_training\.pickle"):
        rhd.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    (tmp_path / "training/color/00001.png").unlink()  # no kept hand lies in it
    assert len(rhd.read(path)) == 3
    (tmp_path / "training/color/00000.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images.*training/color/00000\.png"):
        rhd.read(path)


def with_value(at: tuple[int, int], value: float) -> Any:
    changed = miniature.entry(miniature.hand(10, 20, 100), miniature.hand(200, 200, 60))
    changed["uv_vis"][at] = value
    return {5: changed}


BROKEN: dict[str, tuple[Any, str]] = {
    "list": ([1], "holds a list, expected a dict"),
    "empty": ({}, "expected a dict of images"),
    "key": ({"a": miniature.CONTENT["training"][0]}, "not in RHD's layout"),
    "negative": ({-1: miniature.CONTENT["training"][0]}, "repeat or are negative"),
    "repeated": ({1: miniature.CONTENT["training"][0], "1": miniature.CONTENT["training"][0]}, "repeat or are"),
    "no table": ({1: {"xyz": 1}}, "KeyError"),
    "no dict": ({1: [1]}, "not in RHD's layout"),
    "shape": ({1: {"uv_vis": np.zeros((21, 3))}}, "expected 'uv_vis' of 42×3"),
    "texts": ({1: {"uv_vis": ["a"] * 126}}, "not in RHD's layout"),
    "nan": (with_value((3, 0), np.nan), "image 5 has a visible joint that is not finite"),
    "enormous": (with_value((30, 1), 1e12), "image 5 has a visible joint"),
    "flag": (with_value((0, 2), 2), "a flag other than 0 and 1"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(tmp_path: Path, kind: str) -> None:
    content, message = BROKEN[kind]
    path = miniature.write(tmp_path)
    (tmp_path / "training/anno_training.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(FormatError, match=message):
        rhd.read(path)


def test_a_joint_behind_the_camera_costs_only_its_hand(tmp_path: Path) -> None:
    content = with_value((20, 0), np.inf)
    content[5]["uv_vis"][20, 2] = 0
    path = miniature.write(tmp_path)
    (tmp_path / "training/anno_training.pickle").write_bytes(pickle.dumps(content))
    (tmp_path / "training/color/00000.png").rename(tmp_path / "training/color/00005.png")
    assert rhd.read(path, split="train").categories.tolist() == ["right"]


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    path = miniature.write(tmp_path)
    (tmp_path / "training/anno_training.pickle").write_bytes(pickle.dumps({0: Hostile()}))
    with pytest.raises(FormatError, match="mkdir, which no file may"):
        rhd.read(path)
    assert not (tmp_path / "made").exists()


def test_the_real_order_of_joints(shared_data: Path) -> None:
    """Three real hands, as another project stores them in the order of RHD's own files."""
    folder = shared_data / "samples/coco_style_rhd"
    rows = json.loads((folder / "test_rhd.json").read_text())["annotations"]
    raw = np.array([row["keypoints"] for row in rows])[..., :2]
    a, b = np.array(HAND21.edges).T

    def bones(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=2).sum(axis=1)

    assert (bones(raw[:, rhd._TO_BASE_FIRST]) < bones(raw)).all()
