from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from tests.data.formats.miniatures import mpii as miniature

from poseshift.data.formats import mpii
from poseshift.data.skeletons.people import MPII16
from poseshift.errors import DataError, FormatError, UsageError


def test_coordinates_count_from_zero_and_boxes_are_squares(tmp_path: Path) -> None:
    data = mpii.read(miniature.write(tmp_path))
    assert data.skeleton is MPII16
    assert [r.key for r in data] == ["a.jpg", "b.jpg", "b.jpg", "c.jpg"]
    np.testing.assert_allclose(data.keypoints[2], [[5 + j, 1 + 2 * j] for j in range(16)])
    np.testing.assert_allclose(data.boxes, [[0, 10, 40, 50]] * 4, rtol=1e-6)
    assert data.visible[1].tolist() == [0 if j == 6 else 2 for j in range(16)]
    assert not data.keypoints[1, 6].any()
    assert data.groups.tolist() == ["a.jpg", "b.jpg", "b.jpg", "c.jpg"]
    assert data.images.read(int(data.image_index[0])).shape == (70, 60, 3)


def test_splits_and_single_files(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    assert [len(mpii.read(path, split=split)) for split in ("all", "train", "valid", "test")] == [4, 3, 1, 1]
    assert not mpii.read(path, split="test").visible.any()
    assert len(mpii.read(f"{path}/annot/train.json")) == 3
    assert len(mpii.read(f"{path}/annot/train.json@{path}/images")) == 3
    with pytest.raises(DataError, match=r"looked for .*trainval\.json"):
        mpii.read(path, split="trainval")
    with pytest.raises(DataError, match="chooses a file in a folder"):
        mpii.read(f"{path}/annot/train.json", split="valid")
    with pytest.raises(UsageError, match="no split 'val'"):
        mpii.read(path, split="val")


def test_the_official_file(tmp_path: Path) -> None:
    path = miniature.write_official(tmp_path)
    data = mpii.read(path)
    assert [r.key for r in data] == ["a.jpg", "b.jpg", "c.jpg"]
    assert data.visible[0].tolist() == [0] * 11 + [2, 1, 2, 1, 2]
    np.testing.assert_allclose(data.keypoints[0, 15], [4, 6])
    np.testing.assert_allclose(data.keypoints[0, 11], [8, 6])
    np.testing.assert_allclose(data.keypoints[1, 0], [1, 2])
    np.testing.assert_allclose(data.boxes, [[0, 10, 40, 50]] * 3, rtol=1e-6)
    assert (data.visible[2] == 0).all()
    assert [len(mpii.read(path, split=split)) for split in ("train", "test")] == [2, 1]
    assert len(mpii.read(f"{path}/mpii_human_pose_v1_u12_1.mat", split="train")) == 2
    with pytest.raises(DataError, match="no split 'valid', only train and test"):
        mpii.read(path, split="valid")


def test_a_broken_official_file(tmp_path: Path) -> None:
    path = miniature.write_official(tmp_path)
    file = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    whole = file.read_bytes()
    for content in (whole[:300], whole[:-40], b"", b"garbage" * 99):
        file.write_bytes(content)
        with pytest.raises((FormatError, DataError), match=r"mpii_human_pose"):
            mpii.read(path)
    for other in ({"X": 1}, {"RELEASE": 1}, {"RELEASE": {"annolist": 1}}):
        savemat(file, other)
        with pytest.raises(FormatError, match="no official annotation of MPII"):
            mpii.read(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*train\.json.*mpii:FOLDER"):
        mpii.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    (tmp_path / "images/b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no file, the first is 'b\.jpg'"):
        mpii.read(path)


BROKEN: dict[str, tuple[dict[str, Any], type[DataError], str]] = {
    "outside": ({"image": "../../x.jpg"}, DataError, "leaves the data root"),
    "absolute": ({"image": "/etc/x.jpg"}, DataError, "leaves the data root"),
    "windows": ({"image": "C:\\x.jpg"}, DataError, "leaves the data root"),
    "joints": ({"joints": [[1, 2]] * 15}, FormatError, "joints must be 16×2"),
    "nan": ({"joints": [[1, float("nan")]] * 16}, FormatError, "joints of row 1"),
    "enormous": ({"center": [1e99, 0]}, FormatError, "center of row 1"),
    "scale": ({"scale": [1, 2]}, FormatError, "scale must be"),
    "text": ({"joints_vis": ["a"] * 16}, FormatError, "joints_vis must be 16 numbers"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(tmp_path: Path, kind: str) -> None:
    change, error, message = BROKEN[kind]
    path = miniature.write(tmp_path)
    rows = [dict(row) for row in miniature.PEOPLE["train"]]
    rows[1] |= change
    (tmp_path / "annot/train.json").write_text(json.dumps(rows))
    with pytest.raises(error, match=message):
        mpii.read(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", "[" * 9999])
def test_what_is_no_list_of_people_is_refused(tmp_path: Path, text: str) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / "annot/train.json").write_text(text)
    with pytest.raises(FormatError, match=r"train\.json"):
        mpii.read(path)


def test_five_real_people(shared_data: Path) -> None:
    folder = shared_data / "samples/coco_style_mpii"
    data = mpii.read(str(folder / "test_mpii.json"))
    rows = json.loads((folder / "test_mpii.json").read_text())
    assert len(data) == len(rows) == 5
    for record, row in zip(data, rows, strict=True):
        assert record.key == row["image"]
        seen = np.array(row["joints_vis"]) == 1
        np.testing.assert_allclose(record.keypoints[seen], np.array(row["joints"])[seen] - 1, rtol=1e-5)
        height, width = data.images.read(record.image).shape[:2]
        assert ((record.keypoints[seen] >= 0) & (record.keypoints[seen] < (width, height))).mean() > 0.95
