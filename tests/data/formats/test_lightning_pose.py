from __future__ import annotations

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from poseshift.data.formats import lightning_pose
from poseshift.data.images import ImageFiles
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations

MINIATURE = runpy.run_path(str(Path(__file__).parent / "miniatures/lightning_pose.py"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    MINIATURE["write"](tmp_path)
    return tmp_path


def test_columns_are_what_the_file_says(root: Path) -> None:
    data = lightning_pose.read(str(root))
    np.testing.assert_array_equal(data.keypoints, [[[1.5, 2], [3, 4.25]], [[0, 0], [5, 6]], [[7, 8], [0, 0]]])
    np.testing.assert_array_equal(data.visible, [[2, 2], [0, 2], [2, 0]])
    assert data.groups.tolist() == ["a", "a", "b"]
    assert data.skeleton.flip_pairs == ((0, 1),)
    assert [data[i].key for i in (0, 2)] == ["labeled-data/a/img1.png", "labeled-data/b/img1.png"]
    assert np.isnan(data.boxes).all()
    assert "counts pixels from 0" in data.note
    assert data.images.read(0).shape == (24, 32, 3)


def test_predictions_on_labelled_frames(root: Path) -> None:
    model = root / "outputs"
    model.mkdir()
    (model / "predictions.csv").write_text(
        "scorer,net,net,net,set\nbodyparts,nose,nose,nose,\ncoords,x,y,likelihood,\n"
        "labeled-data/a/img1.png,1,2,0.9,train\nlabeled-data/b/img1.png,3,4,0.1,test\n"
    )
    data = lightning_pose.read(str(model / "predictions.csv"))
    np.testing.assert_array_equal(data.keypoints, [[[1, 2]], [[3, 4]]])
    np.testing.assert_array_equal(data.visible, [[2], [2]])
    (model / "predictions.csv").write_text("scorer,net,net\nbodyparts,nose,nose\ncoords,x,y\n0,1,2\n1,3,4\n")
    with pytest.raises(FormatError, match="its lines are numbered"):
        lightning_pose.read(str(model))


def test_the_folder_must_say_which_file(root: Path) -> None:
    (root / "CollectedData.csv").rename(root / "CollectedData_top.csv")
    assert len(lightning_pose.read(str(root))) == 3
    (root / "CollectedData_bot.csv").write_text("")
    with pytest.raises(DataError, match=r"found \['CollectedData_bot\.csv', 'CollectedData_top\.csv'\]"):
        lightning_pose.read(str(root))
    with pytest.raises(FormatError, match=r"begin with \[\]"):
        lightning_pose.read(str(root / "CollectedData_bot.csv"))
    with pytest.raises(DataError, match="looked for a folder or csv"):
        lightning_pose.read(str(root / "gone"))
    with pytest.raises(UsageError, match="no split 'new'"):
        lightning_pose.read(str(root), split="new")


BROKEN = {
    "individuals": ("bodyparts", "individuals,a,a,b,b\nbodyparts", FormatError, "deeplabcut:CollectedData"),
    "cells": (",5,6", ",5", FormatError, "line 5: 4 cells, expected 5"),
    "nan": ("5,6", "5,nan", FormatError, r"x, y \[5\.0, nan\]"),
    "infinite": ("5,6", "-inf,6", FormatError, "two numbers in pixels"),
    "outside": ("labeled-data/a/img1.png", "../a.png", DataError, "leaves the data root"),
    "missing": ("labeled-data/a/img1.png", "labeled-data/a/img9.png", DataError, "1 of 3 images have no file"),
    "twice": ("a/img2.png", "a/img1.png", FormatError, "more than one line"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(root: Path, kind: str) -> None:
    old, new, error, message = BROKEN[kind]
    file = root / "CollectedData.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(error, match=message) as caught:
        lightning_pose.read(str(root))
    assert "\n" not in str(caught.value)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("lp")
    count, joints = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    points = data.draw(arrays(np.float32, (count, joints, 2), elements=st.floats(-9999, 9999, width=32)))
    visible = data.draw(arrays(np.uint8, (count, joints), elements=st.sampled_from([0, 2])))
    visible[:, 0] = 2
    paths = tuple(f"labeled-data/{i % 2}/{i}.png" for i in range(count))
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    before = Annotations(
        name="x",
        images=ImageFiles(root=root, paths=paths),
        image_index=np.arange(count),
        skeleton=from_names("x", [f"p{i}" for i in range(joints)]),
        keypoints=np.where(visible[..., None] > 0, points, 0),
        visible=visible,
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array([str(i % 2) for i in range(count)]),
        categories=np.full(count, "animal"),
    )
    lightning_pose.write(before, root / "CollectedData.csv")
    after = lightning_pose.read(str(root))
    for column in ("keypoints", "visible", "image_index", "groups", "categories"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    assert after.skeleton.keypoints == before.skeleton.keypoints
    with pytest.raises(DataError, match="never overwritten"):
        lightning_pose.write(before, root / "CollectedData.csv")


def test_the_real_project(shared_data: Path) -> None:
    root = shared_data / "samples/lightning_pose_mirror_mouse/data/mirror-mouse-example"
    data = lightning_pose.read(str(root))
    assert (len(data), len(data.skeleton)) == (90, 17)
    assert data.skeleton.keypoints[:2] == ("paw1LH_top", "paw2LF_top")
    with (root / "CollectedData.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))[3:]
    expected = np.array([[float(cell or "nan") for cell in row[1:]] for row in rows]).reshape(90, 17, 2)
    np.testing.assert_array_equal(data.visible, np.where(np.isnan(expected[..., 0]), 0, 2))
    np.testing.assert_allclose(data.keypoints, np.nan_to_num(expected), rtol=1e-6)
    assert data[0].key == "labeled-data/img01.png"
    with Image.open(root / data[0].key) as image:
        assert (data.keypoints[data.visible > 0] < image.size).all()
