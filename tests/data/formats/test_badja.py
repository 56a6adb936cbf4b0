from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.formats.miniatures import badja as miniature

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import badja
from poseshift.data.skeletons.animals import BADJA20
from poseshift.errors import DataError, FormatError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def change(root: Path, video: str = "rs_dog", **changes: object) -> None:
    file = root / f"joint_annotations/{video}.json"
    file.write_text(json.dumps([row | changes for row in json.loads(file.read_text())]))


def test_joints_are_turned_from_row_and_column(root: Path) -> None:
    data = badja.read(str(root))
    assert data.skeleton is BADJA20
    assert data.groups.tolist() == ["dog-agility", "dog-agility", "rs_dog"]
    assert data.categories.tolist() == ["dog"] * 3
    assert data[2].key == "extra_videos/rs_dog/rgb/00000.png"
    for i, joint in enumerate(badja.ANNOTATED):
        assert data.visible[0, i] == (2 if joint % 3 else 0)
        np.testing.assert_array_equal(data.keypoints[0, i], [2 * joint, joint] if joint % 3 else [0, 0])
    assert data.images.read(0).shape == (44, 80, 3)
    assert "not there: tiger" in data.note
    assert crop_regions(data, "from_keypoints").shape == (3, 4)


def test_names_follow_the_authors_catalogue() -> None:
    """Upper legs are front legs; 1, 2, 3 go down the leg; right before left, as in their list."""
    catalogue = {
        8: "right_front_elbow",
        10: "right_front_paw",
        13: "left_front_knee",
        14: "left_front_paw",
        15: "neck",
        18: "right_back_elbow",
        24: "left_back_paw",
        25: "tail_base",
        31: "tail_end",
        32: "jaw",
        33: "nose",
        35: "right_ear",
        36: "left_ear",
    }
    for joint, name in catalogue.items():
        assert BADJA20.keypoints[badja.ANNOTATED.index(joint)] == name


def test_videos_can_be_chosen_and_must_then_be_there(root: Path) -> None:
    assert badja.read(f"{root}@rs_dog").groups.tolist() == ["rs_dog"]
    with pytest.raises(DataError, match=r"2 of 2 frames of 'tiger' are not in .*DAVIS 2017"):
        badja.read(f"{root}@tiger")
    with pytest.raises(UsageError, match=r"unknown video 'bear' in .*dog-agility, rs_dog, tiger"):
        badja.read(f"{root}@bear")
    with pytest.raises(UsageError, match="no split 'train'; expected one of all"):
        badja.read(str(root), split="train")


def test_missing_folder_files_and_frames(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a folder .*gone.joint_annotations"):
        badja.read(str(root / "gone"))
    (root / miniature.VIDEOS["dog-agility"][0] / "00001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 frames of 'dog-agility'.*00001\.jpg"):
        badja.read(str(root))
    for name in ("dog-agility", "rs_dog"):
        (root / f"joint_annotations/{name}.json").unlink()
    with pytest.raises(DataError, match="no frame of tiger is in"):
        badja.read(str(root))
    (root / "joint_annotations/tiger.json").unlink()
    with pytest.raises(DataError, match="holds no JSON file"):
        badja.read(str(root))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"joints": [[0, 0]] * 36}, FormatError, "frame 0 has no 37 joints"),
        ({"joints": [[0, 0]] * 36 + [[0]]}, FormatError, "frame 0 has no 37 joints"),
        ({"joints": [["y", "x"]] * 37}, FormatError, "frame 0 has no 37 joints"),
        ({"joints": [[float("nan"), 0]] * 37}, FormatError, "joint 1 of frame 0 is visible at"),
        ({"joints": [[0, 1e9]] * 37}, FormatError, "no place in an image"),
        ({"joints": [[0, 10**400]] * 37}, FormatError, "frame 0 has no 37 joints"),
        ({"visibility": [True] * 20}, FormatError, "and 37 flags"),
        ({"visibility": [2] * 37}, FormatError, "a flag other than true and false"),
        ({"visibility": None}, FormatError, "and 37 flags"),
        ({"image_path": None}, FormatError, "has image_path None"),
        ({"image_path": "../x.png"}, DataError, "leaves the data root"),
        ({"image_path": r"C:\x.png"}, DataError, "leaves the data root"),
        ({"image_path": "/x.png"}, DataError, "leaves the data root"),
    ],
)
def test_broken_content_is_named(root: Path, changes: dict[str, Any], error: type[DataError], message: str) -> None:
    change(root, **changes)
    with pytest.raises(error, match=message):
        badja.read(str(root))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"{}", b"[1]"])
def test_what_is_no_list_of_frames_is_refused(root: Path, content: bytes) -> None:
    (root / "joint_annotations/rs_dog.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"rs_dog\.json' is no (JSON|list of frames)"):
        badja.read(str(root))


def test_what_is_not_visible_may_be_anywhere(root: Path) -> None:
    change(root, joints=[[None, 1e30]] * 37, visibility=[False] * 37)
    assert not badja.read(f"{root}@rs_dog").visible.any()
    windows = miniature.VIDEOS["rs_dog"][0].replace("/", "\\") + "\\00000.png"
    change(root, image_path=windows)
    assert badja.read(f"{root}@rs_dog")[0].key == "extra_videos/rs_dog/rgb/00000.png"


def test_a_frame_of_full_resolution(tmp_path: Path) -> None:
    """1920×1080: legs hang down, the nose is far right, and an ear is above the picture's edge."""
    joints = [[0, 0]] * 37
    places = {8: [220, 930], 9: [260, 1050], 10: [390, 1080], 15: [150, 1010], 33: [120, 1310], 35: [-6, 1170]}
    for joint, place in places.items():
        joints[joint] = place
    path = "extra_videos/impala0/rgb/00062.png"
    row = {"image_path": path, "joints": joints, "visibility": [joint in places for joint in range(37)]}
    (tmp_path / "joint_annotations").mkdir()
    (tmp_path / "joint_annotations/impala0.json").write_text(json.dumps([row]))
    (tmp_path / path).parent.mkdir(parents=True)
    Image.new("RGB", (1920, 1080)).save(tmp_path / path)
    data = badja.read(str(tmp_path))
    found = dict(zip(BADJA20.keypoints, data.keypoints[0].tolist(), strict=True))
    assert found["right_front_elbow"] == [930, 220]
    assert found["right_front_elbow"][1] < found["right_front_knee"][1] < found["right_front_paw"][1]
    assert found["nose"] == [1310, 120]
    assert found["right_ear"] == [1170, -6]
    assert data.categories.tolist() == ["impala"]
