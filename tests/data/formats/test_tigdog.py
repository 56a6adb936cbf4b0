from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from tests.data.formats.miniatures import tigdog as miniature

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import tigdog
from poseshift.data.skeletons.animals import ANIMAL18
from poseshift.data.splits import published_rows
from poseshift.errors import DataError, FormatError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def test_frames_of_labelled_shots_in_the_order_of_ranges(root: Path) -> None:
    data = tigdog.read(str(root))
    assert data.skeleton is ANIMAL18
    keys = [record.key for record in data]
    assert keys[:5] == [f"horse/{frame:08d}.jpg" for frame in (1, 2, 3, 10, 11)]
    assert keys[5:] == [f"tiger/{frame:08d}.jpg" for frame in (100, 101, 102)]
    assert data.groups.tolist() == ["horse/7"] * 3 + ["horse/12"] * 2 + ["tiger/2"] * 3
    assert data.categories.tolist() == ["horse"] * 5 + ["tiger"] * 3
    for i in range(18):
        np.testing.assert_allclose(data.keypoints[3, i], [20 + i, 30 + 2 * i + 2.5])
    assert (data.visible == 2).all()
    assert data.images.read(0).shape == (70, 90, 3)


def test_tigers_are_put_into_the_order_of_horses(root: Path) -> None:
    data = tigdog.read(f"{root}@tiger")
    published = [1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 18, 13, 14, 9, 10, 11, 12]
    np.testing.assert_allclose(data.keypoints[0, :, 0], [19 + number for number in published])


def test_what_is_not_visible_is_not_labelled(root: Path) -> None:
    rows = miniature.landmarks(3, 1)
    rows[0, 4] = np.nan, np.nan, 0
    rows[0, 5] = 4000, -3, 0
    rows[1, :9, 2] = 0  # as many as the published filter refuses
    rows[2, :8, 2] = 0
    miniature.write_shot(root, "horse", 7, rows)
    data = tigdog.read(f"{root}@horse")
    assert [record.key[-6:] for record in data] == ["01.jpg", "03.jpg", "10.jpg", "11.jpg"]
    assert data.visible[0].tolist() == [2] * 4 + [0, 0] + [2] * 12
    assert not data.keypoints[0, 4:6].any()
    assert "5 frames have landmarks" in data.note


def test_boxes_are_those_of_the_labels_cut_at_the_picture(root: Path) -> None:
    data = tigdog.read(f"{root}@horse")
    assert "come from labels" in data.note
    np.testing.assert_allclose(data.boxes[0], [5, 15.25, 52, 70])
    np.testing.assert_allclose(data.boxes[0, :3], [20 - 15, 30.25 - 15, 37 + 15])
    region = crop_regions(data, "given")[0]
    np.testing.assert_allclose(region[2] - region[0], 1.25 * (70 - 15.25))
    (root / "horse/00000001.jpg").write_bytes(b"no image")
    np.testing.assert_allclose(tigdog.read(f"{root}@horse").boxes[0, 3], 30.25 + 34 + 15)


def test_splits_are_the_published_positions(root: Path) -> None:
    assert [record.key for record in tigdog.read(str(root), split="train")] == [
        *("horse/00000010.jpg", "horse/00000011.jpg", "tiger/00000100.jpg"),
    ]
    assert len(tigdog.read(f"{root}@horse", split="valid")) == 2
    with pytest.raises(UsageError, match="no split 'test'; expected one of all, train, valid"):
        tigdog.read(str(root), split="test")
    (root / "tigdog_by_video.json").write_text(json.dumps({"horse": {"train": [5]}}))
    with pytest.raises(FormatError, match=r"reaches from 5 to 5, but the data has 5"):
        tigdog.read(f"{root}@horse", split="train")
    with pytest.raises(DataError, match="has no list 'train' for 'tiger'"):
        tigdog.read(f"{root}@tiger", split="train")
    (root / "tigdog_by_video.json").write_text("[]")
    with pytest.raises(FormatError, match="holds a list, expected an object"):
        tigdog.read(str(root), split="train")
    (root / "tigdog_by_video.json").write_bytes(b"\xff{")
    with pytest.raises(FormatError, match="no JSON"):
        tigdog.read(str(root), split="train")
    (root / "tigdog_by_video.json").unlink()
    with pytest.raises(DataError, match=r"'train' needs the published positions as .*tigdog_by_video\.json"):
        tigdog.read(str(root), split="train")


def test_a_split_of_other_data_is_refused(root: Path) -> None:
    rows = miniature.landmarks(3, 1)
    rows[0, :, 2] = 0
    miniature.write_shot(root, "horse", 7, rows)
    with pytest.raises(FormatError, match="'horse'/'valid' names position 0, whose frame has no labelled joint"):
        tigdog.read(str(root), split="valid")


def test_missing_folder_animal_landmarks_and_frame(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*gone.*ranges\.mat"):
        tigdog.read(str(root / "gone"))
    with pytest.raises(UsageError, match=r"unknown option 'dog'.*horse, tiger"):
        tigdog.read(f"{root}@dog")
    (root / "horse/00000010.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 8 frames are not in .*horse/00000010\.jpg"):
        tigdog.read(str(root))
    assert len(tigdog.read(str(root), split="valid")) == 3
    (root / "landmarks/tiger/2.mat").unlink()
    with pytest.raises(DataError, match=r"no shot of .*tiger.*has landmarks"):
        tigdog.read(f"{root}@tiger")


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([[7, 1]], r"shape \(1, 2\)"),
        ([[7, 3, 1]], r"row 1 is \[7, 3, 1\]"),
        ([[7, 1, 3], [8, 1.5, 3]], "row 2 is"),
        ([[7, 1, np.inf]], "row 1 is"),
        ([[-7, 1, 3]], "row 1 is"),
        ([[7, 1, 10**9]], "row 1 is"),
        ([[7, 1, 10**7]], "has 3 cells of object, expected one for each of the 10000000 frames"),
        ("text", r"'ranges' has shape \(1,\)"),
    ],
)
def test_wrong_ranges_are_refused(root: Path, ranges: Any, message: str) -> None:
    savemat(root / "ranges/horse/ranges.mat", {"ranges": ranges})
    with pytest.raises(FormatError, match=message):
        tigdog.read(str(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"points": np.zeros(3)}, "no MATLAB file with an array 'landmarks'"),
        ({"landmarks": np.zeros((3, 19, 3))}, "cells of float64"),
        ({"landmarks": np.array([1, 2, 3], object)}, "cell 1 of 'landmarks' is no structure"),
        ({"landmarks": np.array([{"p": np.zeros((19, 2))}] * 3, object)}, "cell 1 of"),
        ({"landmarks": np.array([{"p": np.zeros((18, 2)), "v": np.zeros(18)}] * 3, object)}, "cell 1 of"),
        ({"landmarks": np.array([{"p": "text", "v": "text"}] * 3, object)}, "cell 1 of"),
        ({"landmarks": np.array([{"p": np.full((19, 2), np.nan), "v": np.ones(19)}] * 3, object)}, "landmark 1 of fra"),
        ({"landmarks": np.array([{"p": np.full((19, 2), 1e9), "v": np.ones(19)}] * 3, object)}, "no place in an image"),
    ],
    ids=["name", "array", "numbers", "field", "count", "text", "nan", "enormous"],
)
def test_wrong_landmarks_are_refused(root: Path, content: dict[str, Any], message: str) -> None:
    savemat(root / "landmarks/horse/7.mat", content)
    with pytest.raises(FormatError, match=message):
        tigdog.read(str(root))


@pytest.mark.parametrize("file", ["ranges/horse/ranges.mat", "landmarks/tiger/2.mat"])
def test_a_truncated_file_is_refused(root: Path, file: str) -> None:
    whole = (root / file).read_bytes()
    for length in (0, 40, 130, len(whole) - 20):
        (root / file).write_bytes(whole[:length])
        with pytest.raises(FormatError, match="no MATLAB file"):
            tigdog.read(str(root))


def test_a_frame_that_is_a_link_out_of_the_root_is_refused(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes((root / "horse/00000001.jpg").read_bytes())
    (root / "horse/00000001.jpg").unlink()
    (root / "horse/00000001.jpg").symlink_to(outside)
    with pytest.raises(DataError, match="outside the data root"):
        tigdog.read(str(root)).images.read(0)
    assert tigdog.read(str(root), allow_outside=True).images.read(0).shape == (70, 90, 3)


def test_the_published_splits_never_share_a_position(shared_data: Path) -> None:
    content = json.loads((shared_data / "splits/tigdog_by_video.json").read_text())
    for animal, count, expected in (("horse", 13410, [8380, 1772]), ("tiger", 16517, [6523, 1765])):
        rows = [published_rows(Path("x"), content, animal, split, count=count) for split in ("train", "valid")]
        assert [len(part) for part in rows] == expected
        assert not np.intersect1d(*rows).size
