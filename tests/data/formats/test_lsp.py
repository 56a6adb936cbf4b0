from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import lsp, read
from poseshift.errors import DataError, FormatError, UsageError


def miniature(root: Path, count: int = 3) -> np.ndarray:
    joints = np.random.default_rng(0).uniform(1, 30, (3, 14, count))
    joints[2] = np.random.default_rng(1).random((14, count)) < 0.2
    (root / "images").mkdir()
    for number in range(1, count + 1):
        Image.new("RGB", (30, 20 + number)).save(root / f"images/im{number:04d}.jpg")
    savemat(root / "joints.mat", {"joints": joints})
    return joints


def test_coordinates_count_from_zero_and_flag_one_is_occluded(tmp_path: Path) -> None:
    joints = miniature(tmp_path)
    data = read(f"lsp:{tmp_path}")
    assert len(data) == 3
    for i in range(3):
        np.testing.assert_allclose(data.keypoints[i, :, 0], joints[0, :, i] - 1, rtol=1e-6)
        np.testing.assert_allclose(data.keypoints[i, :, 1], joints[1, :, i] - 1, rtol=1e-6)
        np.testing.assert_array_equal(data.visible[i], np.where(joints[2, :, i] == 1, 1, 2))
        assert data.images.read(i).shape == (21 + i, 30, 3)
    assert data[2].key == "images/im0003.jpg"
    assert np.isnan(data.boxes).all()


def test_a_split_of_few_images(tmp_path: Path) -> None:
    miniature(tmp_path)
    assert len(lsp.read(str(tmp_path), split="train")) == 3
    with pytest.raises(DataError, match=r"'test'.*empty.*only 3 images"):
        lsp.read(str(tmp_path), split="test")
    with pytest.raises(UsageError, match="no split 'val'; expected one of all, train, test"):
        lsp.read(str(tmp_path), split="val")


def test_missing_folder_file_and_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*gone.joints\.mat"):
        lsp.read(str(tmp_path / "gone"))
    miniature(tmp_path)
    (tmp_path / "images/im0002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images.*im0002\.jpg"):
        lsp.read(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"joints": np.zeros((14, 3, 5))}, r"\(14, 3, 5\).*extended"),
        ({"joints": np.zeros((3, 16, 5))}, r"\(3, 16, 5\), expected \(3, 14, N\)"),
        ({"points": np.zeros((3, 14, 5))}, "no MATLAB file with an array 'joints'"),
        ({"joints": np.full((3, 14, 5), np.nan)}, "image 1 has a coordinate that is not finite"),
        ({"joints": "text"}, "joints"),
    ],
    ids=["extended", "shape", "name", "nan", "text"],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: dict[str, object], message: str) -> None:
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(FormatError, match=message):
        lsp.read(str(tmp_path))


def test_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "joints.mat").write_bytes(b"not a matlab file at all" * 20)
    with pytest.raises(FormatError, match=r"joints\.mat"):
        lsp.read(str(tmp_path))


def test_the_real_set(shared_data: Path) -> None:
    data = read(f"lsp:{shared_data / 'lsp'}")
    assert len(data) == 2000
    assert (data.visible == 1).mean() == pytest.approx(0.073, abs=5e-4)
    assert (data.visible > 0).all()
    train, test = (lsp.read(str(shared_data / "lsp"), split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1000, 1000)
    assert (train[0].key, test[0].key) == ("images/im0001.jpg", "images/im1001.jpg")
    regions = crop_regions(data.select(range(50)), "whole")
    sides = [max(data.images.read(i).shape[:2]) for i in range(50)]
    np.testing.assert_allclose(regions[:, 2] - regions[:, 0], sides)
    # Nearly every visible joint lies in its image: a shifted or swapped axis would not.
    inside = [
        (record.keypoints[record.visible == 2] < np.array(data.images.read(record.image).shape[1::-1])).all(axis=1)
        for record in (data[i] for i in range(0, 2000, 40))
    ]
    assert np.concatenate(inside).mean() > 0.99
