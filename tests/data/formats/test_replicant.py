"""One exporter's renderings in several layouts: what the readers make of them must agree.

The sample holds two sets of ten images. The images with one insect come as DeepLabCut and SLEAP, with keypoints; those
with several come as COCO, with keypoints, and as YOLO for detection, with boxes alone. So keypoints are compared within
the first pair, boxes within the second, and the keypoints of COCO are taken through every layout that can be written.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from poseshift.data.formats import coco, deeplabcut, lightning_pose, yolo_pose
from poseshift.errors import DataError
from poseshift.types import Annotations

ROUNDING = 0.02


@pytest.fixture
def replicant(shared_data: Path) -> Path:
    return shared_data / "samples/replicant"


@pytest.fixture
def several(replicant: Path, tmp_path: Path) -> Annotations:
    """The COCO part, in a folder that can be written to. Its JSON names files ``.JPG`` which lie there as ``.jpg``."""
    shutil.copytree(replicant / "COCO/data", tmp_path / "images")
    shutil.copy(replicant / "COCO/labels.json", tmp_path / "labels.json")
    return coco.read(str(tmp_path / "labels.json"))


def test_coco_is_read_where_it_lies(replicant: Path, several: Annotations) -> None:
    data = coco.read(str(replicant / "COCO"))
    assert sorted({record.key for record in data}) == [f"input-multi_{n:02d}_synth.jpg" for n in range(10)]
    assert data.images.read(int(data.image_index[0])).shape == (512, 512, 3)
    np.testing.assert_array_equal(data.keypoints, several.keypoints)


def test_deeplabcut_and_sleap_hold_the_same_numbers(replicant: Path) -> None:
    data = deeplabcut.read(str(replicant / "DLC_SINGLE"))
    assert (len(data), len(data.skeleton)) == (10, 62)
    with h5py.File(replicant / "SLEAP_single/labels.slp") as content:
        meta = json.loads(content["metadata"].attrs["json"])
        points = content["points"][()]
    nodes = [meta["nodes"][node["id"]]["name"] for node in meta["skeletons"][0]["nodes"]]
    order = [nodes.index(name) for name in data.skeleton.keypoints]
    numbers = np.stack([points["x"], points["y"]], axis=1).reshape(10, 62, 2)[:, order]
    known = data.visible > 0
    assert known.sum() == 529
    np.testing.assert_allclose(data.keypoints[known], numbers[known], atol=ROUNDING)


@pytest.mark.skipif(
    importlib.util.find_spec("poseshift.data.formats.sleap") is None, reason="there is no reader of SLEAP"
)
def test_deeplabcut_and_sleap_agree(replicant: Path) -> None:
    sleap = importlib.import_module("poseshift.data.formats.sleap")
    one = deeplabcut.read(str(replicant / "DLC_SINGLE"))
    other = sleap.read(str(replicant / "SLEAP_single/labels.slp"))
    order = [other.skeleton.keypoints.index(name) for name in one.skeleton.keypoints]
    # The exporter leaves a point out of the table that it keeps in the other file.
    known = one.visible > 0
    assert (other.visible[:, order][known] > 0).all()
    np.testing.assert_allclose(one.keypoints[known], other.keypoints[:, order][known], atol=ROUNDING)


def test_coco_and_yolo_hold_the_same_boxes(replicant: Path, several: Annotations) -> None:
    """The exporter's COCO boxes lie 5 pixels further and are a pixel narrower; four of the fifteen it also cuts."""
    compared = 0
    for row in range(len(several)):
        number = several[row].key[len("input-multi_") :][:2]
        lines = (replicant / f"YOLO/data/obj/input-multi_{number}_example_multi.txt").read_text().splitlines()
        rows = np.array([line.split() for line in lines], np.float64)
        # Edges in pixels from the corner of an image of 512 × 512.
        boxes = 512 * np.concatenate([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 3:]], axis=1)
        boxes += np.array([5, 5, -1, -1])
        found = np.concatenate([several.boxes[row, :2], several.boxes[row, 2:] - several.boxes[row, :2]])
        compared += bool(np.isclose(boxes, found, atol=ROUNDING).all(axis=1).any())
    assert (compared, len(several)) == (11, 15)


def test_yolo_without_keypoints_is_refused(replicant: Path) -> None:
    with pytest.raises(DataError, match="one YAML file"):
        yolo_pose.read(str(replicant / "YOLO/data"))


def test_coco_agrees_with_what_yolo_pose_makes_of_it(several: Annotations, tmp_path: Path) -> None:
    assert (len(several), len(several.skeleton)) == (15, 51)
    yolo_pose.write(several, tmp_path)
    data = yolo_pose.read(str(tmp_path))
    assert len(data) == len(several)
    order = np.argsort(several.image_index, kind="stable")
    before = several.select(order)
    assert [data[i].key.removeprefix("images/") for i in range(15)] == [before[i].key for i in range(15)]
    np.testing.assert_array_equal(data.categories, before.categories)
    inside = ((before.keypoints >= -0.5) & (before.keypoints <= 511.5)).all(axis=2) & (before.visible > 0)
    np.testing.assert_array_equal(data.visible, np.where(inside, before.visible, 0))
    np.testing.assert_allclose(data.keypoints[inside], before.keypoints[inside], atol=ROUNDING)


def test_coco_agrees_with_what_the_tables_make_of_it(several: Annotations, tmp_path: Path) -> None:
    _, first = np.unique(several.image_index, return_index=True)
    single = several.select(first)
    for module in (deeplabcut, lightning_pose):
        file = tmp_path / "images" / "CollectedData.csv"
        module.write(single, file)
        data = module.read(str(file))
        file.unlink()
        known = single.visible > 0
        np.testing.assert_array_equal(data.visible > 0, known)
        np.testing.assert_allclose(data.keypoints[known], single.keypoints[known], atol=ROUNDING)
        assert data.skeleton.keypoints == single.skeleton.keypoints
