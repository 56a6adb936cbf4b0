from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from tests.data.formats.miniatures import lspet as miniature

from poseshift.data.formats import lspet
from poseshift.data.skeletons import LSP
from poseshift.errors import DataError, FormatError, UsageError


@pytest.mark.parametrize(("where", "suffix"), [("images", "jpg"), ("", "jpg"), ("", "png")])
def test_flag_one_is_visible_and_coordinates_count_from_zero(tmp_path: Path, where: str, suffix: str) -> None:
    data = lspet.read(miniature.write(tmp_path, where, suffix))
    joints = miniature.joints()
    assert data.skeleton is LSP
    for i in range(3):
        seen = joints[:, 2, i] == 1
        np.testing.assert_array_equal(data.visible[i], np.where(seen, 2, 0))
        np.testing.assert_allclose(data.keypoints[i, seen], joints[seen, :2, i] - 1, rtol=1e-5)
        assert not data.keypoints[i, ~seen].any()
        assert data.images.read(i).shape == (31 + i, 40, 3)
    assert data[2].key.endswith(f"im00003.{suffix}")
    assert np.isnan(data.boxes).all()
    assert len(lspet.read(str(tmp_path), split="all")) == 3


def test_a_copy_with_gaps_in_its_numbers(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / "images/im00002.jpg").rename(tmp_path / "images/im00777.jpg")
    assert [r.key for r in lspet.read(path)] == [f"images/im{n:05d}.jpg" for n in (1, 3, 777)]


def test_missing_files_and_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*joints\.mat.*lspet:FOLDER"):
        lspet.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    with pytest.raises(UsageError, match="no split 'train'"):
        lspet.read(path, split="train")
    (tmp_path / "images/im00002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images.*im00002\.jpg"):
        lspet.read(path)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"im00001\.jpg.*found none"):
        lspet.read(path)


def changed(at: tuple[int, int, int], value: float) -> dict[str, Any]:
    joints = miniature.joints()
    joints[:, 2] = 1
    joints[at] = value
    return {"joints": joints}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"joints": np.zeros((3, 14, 5))}, r"\(3, 14, 5\), expected \(14, 3, N\).*lsp:FOLDER"),
        ({"joints": np.zeros((16, 3, 5))}, r"\(16, 3, 5\)"),
        ({"joints": np.zeros((14, 3, 0))}, r"\(14, 3, 0\)|no MATLAB"),
        ({"points": np.zeros((14, 3, 5))}, "no MATLAB file with an array 'joints'"),
        ({"joints": "text"}, "joints"),
        (changed((3, 0, 1), np.nan), "image 2 has a visible joint that is not finite"),
        (changed((3, 1, 2), 1e20), "image 3 has a visible joint"),
        (changed((3, 2, 0), 2), "image 1 has .* a flag other than 0 and 1"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    path = miniature.write(tmp_path)
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(FormatError, match=message):
        lspet.read(path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    for garbage in (b"", b"not a matlab file" * 20, (tmp_path / "joints.mat").read_bytes()[:200]):
        (tmp_path / "joints.mat").write_bytes(garbage)
        with pytest.raises(FormatError, match=r"joints\.mat"):
            lspet.read(path)
