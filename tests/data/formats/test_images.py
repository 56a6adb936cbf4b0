from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import images, read
from poseshift.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deep/er/c.jpeg", ".hidden/d.png", "._e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 7)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def keys(data: object) -> list[str]:
    return [record.key for record in data]  # type: ignore[attr-defined]


def test_a_folder_is_searched_through_and_sorted(root: Path) -> None:
    data = read(f"images:{root}")
    assert keys(data) == ["a.JPG", "b.png", "deep/er/c.jpeg"]
    assert data.images.read(2).shape == (7, 12, 3)
    assert data.keypoints.shape == (3, 0, 2)
    assert data.skeleton.name == "none"
    assert len(set(data.groups)) == 3
    np.testing.assert_allclose(crop_regions(data, "whole")[:, 2:] - crop_regions(data, "whole")[:, :2], 12)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["b.png"]),
        ("**/*.jp*g", ["deep/er/c.jpeg"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        ("d*/e?/*", ["deep/er/c.jpeg"]),
    ],
)
def test_a_pattern_chooses(root: Path, pattern: str, expected: list[str]) -> None:
    data = images.read(f"{root}/{pattern}")
    assert keys(data) == expected
    assert data.images.read(0).shape == (7, 12, 3)


def test_nothing_found_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty.*holds no image.*\.jpg"):
        images.read(str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"\*\.webp.*holds no image"):
        images.read(f"{root}/*.webp")
    with pytest.raises(DataError, match=r"looked for a folder .*gone"):
        images.read(str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="no split 'train'"):
        read(f"images:{root}", split="train")


def test_a_link_out_of_the_folder_is_refused_when_read(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    Image.new("RGB", (3, 4)).save(outside)
    (root / "z.png").symlink_to(outside)
    with pytest.raises(DataError, match="outside the data root"):
        images.read(str(root)).images.read(3)
    assert read(f"images:{root}", allow_outside=True).images.read(3).shape == (4, 3, 3)
