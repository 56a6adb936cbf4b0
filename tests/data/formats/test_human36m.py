from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.formats.miniatures import human36m as miniature

from poseshift.data.formats import human36m
from poseshift.data.skeletons.people import HUMAN16
from poseshift.errors import DataError, FormatError, UsageError

MOON17 = [
    *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "torso", "neck"),
    *("nose", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
]


def seen(frame: int, name: str) -> tuple[float, float]:
    """Where camera ``1 + frame % 2`` sees one joint, step by step."""
    world = miniature.joints(frame)
    left, right = (world[MOON17.index(f"{side}_shoulder")] for side in ("left", "right"))
    x, y, z = (left + right) / 2 if name == "thorax" else world[MOON17.index(name)]
    if frame % 2:
        x, y, z = -y + 10, x + 20, z + 2000
        return 500 * x / z + 51.5, 500 * y / z + 60
    return 500 * x / (z + 1000) + 50, 400 * y / (z + 1000) + 60


def test_joints_are_projected_by_their_camera(tmp_path: Path) -> None:
    data = human36m.read(f"{miniature.write(tmp_path, (1,))}@S1,every_frame")
    assert data.skeleton is HUMAN16
    assert [r.key for r in data] == [f"images/s_01/{frame}.jpg" for frame in range(7)]
    for frame in range(7):
        expected = [seen(frame, name) for name in HUMAN16.keypoints]
        np.testing.assert_allclose(data.keypoints[frame], expected, rtol=1e-5)
    np.testing.assert_allclose(data.boxes[0, :2], data.keypoints[0].min(axis=0))
    assert (data.visible == 2).all()
    assert data.images.read(1).shape == (110, 100, 3)


def test_splits_are_by_subject_and_every_fifth_image(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    train, test = (human36m.read(path, split=split) for split in ("train", "test"))
    assert train.groups.tolist() == [f"S{s}" for s in (1, 5, 6, 7, 8) for _ in range(2)]
    assert [r.key for r in test] == [f"images/s_{s}/{f}.jpg" for s in ("09", "11") for f in (0, 5)]
    assert len(human36m.read(path)) == len(human36m.read(path, split="all")) == 14
    assert human36m.read(f"{path}@S9", split="test").groups.tolist() == ["S9"] * 2
    drawn = human36m.read(f"{path}@published_draw", split="test")
    random.seed(42)
    assert [drawn.images.key(int(i)) for i in drawn.image_index] == random.choices([r.key for r in test], k=3200)
    with pytest.raises(UsageError, match="published_draw is of split 'test'"):
        human36m.read(f"{path}@published_draw")
    with pytest.raises(UsageError, match="S9 is not in split 'train'"):
        human36m.read(f"{path}@S9", split="train")
    with pytest.raises(UsageError, match="unknown option 'S2'"):
        human36m.read(f"{path}@S2")
    with pytest.raises(UsageError, match="no split 'val'"):
        human36m.read(path, split="val")


def test_crops_win_where_they_are_there(tmp_path: Path) -> None:
    miniature.write(tmp_path)
    data = human36m.read(miniature.write_cropped(tmp_path, (9, 11)), split="test")
    assert [r.key for r in data][:4] == [f"crop_images/s_09/{i}.jpg" for i in range(3)] + ["crop_images/s_11/0.jpg"]
    np.testing.assert_allclose(data.keypoints[4], [[j + 1, 20.5 * j] for j in range(16)])
    assert np.isnan(data.boxes).all()
    assert len(human36m.read(str(tmp_path), split="train")) == 10


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Human36M_subject1_data\.json.*human36m:FOLDER"):
        human36m.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    (tmp_path / "images/s_11/5.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 images.*images/s_11/5\.jpg"):
        human36m.read(path, split="test")
    (tmp_path / "annotations/Human36M_subject9_camera.json").unlink()
    with pytest.raises(DataError, match=r"subject9_camera\.json"):
        human36m.read(path, split="test")


def change(part: str, edit: Callable[[Any], Any]) -> tuple[str, Callable[[Any], Any]]:
    return f"Human36M_subject9_{part}.json", edit


BROKEN: dict[str, tuple[tuple[str, Callable[[Any], Any]], type[DataError], str]] = {
    "images": (change("data", lambda c: c.pop("images")), FormatError, "not in the expected layout"),
    "camera": (change("data", lambda c: c["images"][5].update(cam_idx=7)), FormatError, "KeyError.*known cam_idx"),
    "frame": (
        change("data", lambda c: c["images"][5].update(frame_idx=99)),
        FormatError,
        "joint_3d.*action, subaction",
    ),
    "outside": (change("data", lambda c: c["images"][5].update(file_name="../../x.jpg")), DataError, "leaves the data"),
    "rotation": (change("camera", lambda c: c["1"].update(R=[1])), FormatError, "R, t, f and c must be 16"),
    "focal": (change("camera", lambda c: c["1"].pop("f")), FormatError, "R, t, f and c of each camera"),
    "nan": (change("camera", lambda c: c["1"].update(c=[float("nan"), 0])), FormatError, "R, t, f and c of row 0"),
    "behind": (change("camera", lambda c: c["1"].update(t=[0, 0, -5e3])), FormatError, "not in front of its camera"),
    "joints": (
        change("joint_3d", lambda c: c["2"]["1"].update({"5": [[1, 2, 3]]})),
        FormatError,
        "joints must be 17×3",
    ),
    "far": (
        change("joint_3d", lambda c: c["2"]["1"].update({"5": [[1, 2, 1e99]] * 17})),
        FormatError,
        "joints of row 1",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(tmp_path: Path, kind: str) -> None:
    (name, edit), error, message = BROKEN[kind]
    path = miniature.write(tmp_path, (9, 11))
    file = tmp_path / "annotations" / name
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        human36m.read(path, split="test")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", '[{"name": "a.jpg", "keypoint2d": [[1, 2]]}]'])
def test_broken_crops(tmp_path: Path, text: str) -> None:
    path = miniature.write_cropped(tmp_path, (9, 11))
    (tmp_path / "annotations/keypoints2d_9.json").write_text(text)
    with pytest.raises(FormatError, match=r"keypoints2d_9\.json"):
        human36m.read(path, split="test")


def test_the_map_of_joints_is_the_one_by_name() -> None:
    names = [MOON17[i] for i in human36m.JOINTS]
    assert [a for a, b in zip(names, HUMAN16.keypoints, strict=True) if a != b] == ["left_shoulder"]  # the thorax
