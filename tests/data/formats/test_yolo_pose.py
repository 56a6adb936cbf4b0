from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from poseshift.data.formats import yolo_pose
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

MINIATURE = runpy.run_path(str(Path(__file__).parent / "miniatures/yolo_pose.py"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    MINIATURE["write"](tmp_path)
    return tmp_path


def edit(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))


def test_columns_are_what_the_files_say(root: Path) -> None:
    data = yolo_pose.read(str(root))
    assert [data.images.key(i) for i in range(3)] == ["images/train/a.png", "images/train/b.png", "images/val/c.png"]
    np.testing.assert_array_equal(data.image_index, [0, 0, 2])
    # 0.25 of 40 pixels is the edge between columns 9 and 10.
    np.testing.assert_array_equal(data.keypoints[0], [[9.5, 9.5], [29.5, 9.5]])
    np.testing.assert_array_equal(data.keypoints[1], [[4.5, 2], [0, 0]])
    np.testing.assert_array_equal(data.boxes[:2], [[9.5, 7, 29.5, 12], [-0.5, -0.5, 19.5, 9.5]])
    np.testing.assert_array_equal(data.boxes[2], [-0.5, -0.5, 39.5, 19.5])
    np.testing.assert_array_equal(data.visible, [[2, 1], [2, 0], [2, 2]])
    assert data.categories.tolist() == ["cat", "dog", "dog"]
    assert data.groups.tolist() == ["images/train/a.png"] * 2 + ["images/val/c.png"]
    assert data.skeleton.keypoints == ("left_ear", "right_ear")
    assert data.skeleton.flip_pairs == ((0, 1),)
    assert "1 images without labels" in data.note
    assert len(yolo_pose.read(str(root / "data.yaml"), split="val")) == 1
    with pytest.raises(UsageError, match="no split 'all'"):
        yolo_pose.read(str(root), split="all")


def test_two_numbers_per_keypoint(root: Path) -> None:
    edit(root, "data.yaml", "[2, 3]", "[2, 2]")
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0.5 0.25 0.25 0.5 0 0\n")
    (root / "labels/val/c.txt").write_text("1 0.5 0.5 0.5 0.25 -1 -1 0 0.5\n")
    data = yolo_pose.read(str(root))
    np.testing.assert_array_equal(data.visible, [[2, 0], [0, 2]])
    np.testing.assert_array_equal(data.keypoints[1], [[0, 0], [-0.5, 9.5]])


@pytest.mark.parametrize(
    "path", ["E:\\Pose data\\cats\\data", "/home/someone/cats", "../datasets/cats", "cats", "D:/a/b/..", ""]
)
def test_a_path_of_another_machine(root: Path, path: str) -> None:
    edit(root, "data.yaml", "path: .", f"path: {path}")
    data = yolo_pose.read(str(root))
    assert len(data) == 3
    assert ("not on this machine" in data.note) == bool(path)


def test_moved_parts_and_lists_of_images(root: Path) -> None:
    edit(root, "data.yaml", "train: images/train", "train: ../images/train")
    data = yolo_pose.read(str(root))
    assert len(data) == 3
    assert "'images/train' beside the file is read" in data.note
    edit(root, "data.yaml", "../images/train", "lists/train.txt")
    (root / "lists").mkdir()
    for text in (
        "images/train/b.png\nimages/train/a.png\n",
        "./../images/train/b.png\n./../images/train/a.png\n",
        "C:\\x\\images\\train\\b.png\nC:\\x\\images\\train\\a.png\n",
    ):
        (root / "lists/train.txt").write_text(text)
        data = yolo_pose.read(str(root), split="train")
        assert [data.images.key(i) for i in range(2)] == ["images/train/b.png", "images/train/a.png"]
        assert len(data) == 2
    (root / "lists/train.txt").write_text("../../x.png\n")
    with pytest.raises(DataError, match="leaves the data root"):
        yolo_pose.read(str(root))
    (root / "lists/train.txt").write_text("images/train/z.png\n")
    with pytest.raises(DataError, match="1 of 1 images have no file"):
        yolo_pose.read(str(root), split="train")


def test_a_place_outside_is_followed_only_when_allowed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "data.yaml").write_text((root / "data.yaml").read_text().replace("path: .", f"path: {root}"))
    with pytest.raises(DataError, match="looked for images of train, val, test"):
        yolo_pose.read(str(other))
    assert len(yolo_pose.read(str(other), allow_outside=True)) == 3


BROKEN = {
    "shape": ("data.yaml", "kpt_shape: [2, 3]\n", "", "'kpt_shape' is None.*boxes for detection"),
    "dims": ("data.yaml", "[2, 3]", "[2, 4]", r"'kpt_shape' is \[2, 4\]"),
    "flip": ("data.yaml", "[1, 0]", "[1, 1]", "each of 0..1 once"),
    "names": ("data.yaml", "names: {0: cat, 1: dog}", "names: 3", "'names' must list the classes"),
    "kpt_names": ("data.yaml", "1: [left_ear, right_ear]", "1: [a, b]", "differ between classes"),
    "few names": ("data.yaml", "{0: [left_ear, right_ear], 1: [left_ear, right_ear]}", "[a]", "2 different names"),
    "part": ("data.yaml", "images/train", "3", "'train' is '3', expected a path"),
    "cells": ("labels/val/c.txt", "0.75 2", "0.75", "line 1: 10 numbers, expected 11"),
    "text": ("labels/val/c.txt", "0.75", "x", "line 1: could not convert"),
    "class": ("labels/train/a.txt", "\n1", "\n7", "instance 2 has a class that 'names'"),
    "flag": ("labels/val/c.txt", "0.75 2", "0.75 3", "visibility that is not 0, 1 or 2"),
    "pixels": ("labels/val/c.txt", "0.75", "75", "no share of the image"),
    "nan": ("labels/val/c.txt", "0.75", "nan", "no share of the image"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(root: Path, kind: str) -> None:
    file, old, new, message = BROKEN[kind]
    edit(root, file, old, new)
    with pytest.raises(FormatError, match=message) as caught:
        yolo_pose.read(str(root))
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for data\.yaml or one YAML file"):
        yolo_pose.read(str(root / "images"))
    with pytest.raises(DataError, match="looked for images of test"):
        yolo_pose.read(str(root), split="test")
    (root / "labels").rename(root / "elsewhere")
    with pytest.raises(DataError, match="3 images and no instance"):
        yolo_pose.read(str(root))
    (root / "data.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="not UTF-8"):
        yolo_pose.read(str(root))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("yolo")
    count, joints = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    points = data.draw(arrays(np.float32, (count, joints, 2), elements=st.floats(-0.5, 39.5, width=32)))
    visible = data.draw(arrays(np.uint8, (count, joints), elements=st.sampled_from([0, 1, 2])))
    index = np.sort(data.draw(arrays(np.int64, count, elements=st.integers(0, 2))))
    (root / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40 + i)).save(root / f"images/{i}.png")
    low, high = np.float32(np.linspace(0, 9, count)), np.float32(np.linspace(20, 39, count))
    before = Annotations(
        name="x",
        images=ImageFiles(root=root, paths=tuple(f"images/{i}.png" for i in range(3))),
        image_index=index,
        skeleton=from_names("x", [f"p{i}" for i in range(joints)]),
        keypoints=np.where(visible[..., None] > 0, points, 0),
        visible=visible,
        boxes=np.stack([low, low, high, high], axis=1),
        groups=np.array([f"images/{i}.png" for i in index]),
        categories=np.array([data.draw(st.sampled_from(["a cat", "5", ""])) for _ in range(count)]),
    )
    yolo_pose.write(before, root)
    after = yolo_pose.read(str(root))
    for column in ("visible", "image_index", "groups", "categories"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    np.testing.assert_allclose(after.keypoints, before.keypoints, atol=1e-4)
    np.testing.assert_allclose(after.boxes, before.boxes, atol=1e-4)
    assert after.skeleton.keypoints == before.skeleton.keypoints
    with pytest.raises(DataError, match="never overwritten"):
        yolo_pose.write(before, root)


def test_the_files_that_are_written(tmp_path: Path) -> None:
    (tmp_path / "images/deep").mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "images/deep/a b.png")
    nan = np.nan
    data = Annotations(
        name="x",
        images=ImageFiles(root=tmp_path, paths=("images/deep/a b.png",)),
        image_index=np.array([0, 0]),
        skeleton=from_names("x", ["left_ear", "right_ear"]),
        keypoints=np.array([[[9.5, 9.5], [nan, nan]], [[-0.5, 19.5], [45, 3]]], np.float32),
        visible=np.array([[1, 0], [2, 2]], np.uint8),
        boxes=np.array([[-0.5, -0.5, 19.5, 9.5], [nan] * 4], np.float32),
        groups=np.array(["", ""]),
        categories=np.array(["dög", "cat: 1"]),
    )
    yolo_pose.write(data, tmp_path)
    # The centre of pixel 9 is 9.5 pixels from the corner's pixel centre, 10 of 40 from the corner itself.
    assert (tmp_path / "labels/deep/a b.txt").read_text() == (
        "1 0.25 0.25 0.5 0.5 0.25 0.5 1 0 0 0\n0 0.5 0.5875 1 0.825 0 1 2 0 0 0\n"
    )
    assert (tmp_path / "train.txt").read_text() == "./images/deep/a b.png\n"
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "train.txt",
        "kpt_shape": [2, 3],
        "flip_idx": [1, 0],
        "names": {0: "cat: 1", 1: "dög"},
        "kpt_names": {0: ["left_ear", "right_ear"], 1: ["left_ear", "right_ear"]},
    }


def test_the_real_set(shared_data: Path) -> None:
    root = shared_data / "samples/yolo_pose_awa"
    data = yolo_pose.read(str(root))
    assert (len(data), len(data.skeleton)) == (4, 39)
    assert set(data.categories) == {"quadruped"}
    assert (3, 4) in data.skeleton.flip_pairs
    assert "E:/Pose detection" in data.note
    assert "Part 'train' is missing" in data.note
    row = next(i for i in range(4) if data[i].key.endswith("antelope_10041.jpg"))
    numbers = np.array((root / "labels/val/antelope_10041.txt").read_text().split()[5:], np.float64).reshape(39, 3)
    np.testing.assert_array_equal(data.visible[row], numbers[:, 2])
    known = numbers[:, 2] > 0
    np.testing.assert_allclose(data.keypoints[row][known], numbers[known, :2] * [500, 338] - 0.5, atol=1e-4)
