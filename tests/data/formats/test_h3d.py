from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.formats.miniatures import h3d as miniature

from poseshift.data.formats import h3d
from poseshift.errors import DataError, FormatError, UsageError


def test_hands_without_objects(tmp_path: Path) -> None:
    data = h3d.read(miniature.write(tmp_path))
    assert [r.key for r in data] == [row["name"] for row in miniature.rows() if row["without_object"]]
    np.testing.assert_allclose(data.keypoints[3], [[5 + j, 2.5 * j] for j in range(21)])
    assert (data.visible == 2).all()
    assert np.isnan(data.boxes).all()
    assert data.images.read(2).shape == (64, 60, 3)
    assert len(h3d.read(f"{tmp_path}@object")) == 2
    assert len(h3d.read(f"{tmp_path}@all")) == 12


def test_the_split_is_the_published_shuffle(tmp_path: Path) -> None:
    (tmp_path / "H3D_crop").mkdir()
    miniature.write(tmp_path / "H3D_crop")
    keys = [row["name"] for row in miniature.rows() if row["without_object"]]
    random.seed(42)
    random.shuffle(keys)
    assert [r.key for r in h3d.read(str(tmp_path), split="test")] == keys[:2]
    assert [r.key for r in h3d.read(str(tmp_path), split="train")] == keys[2:]
    with pytest.raises(DataError, match="no image of 'object' in split 'test'"):
        h3d.read(f"{tmp_path}@object", split="test")
    with pytest.raises(UsageError, match="no split 'val'"):
        h3d.read(str(tmp_path), split="val")
    with pytest.raises(UsageError, match="unknown option 'cup'"):
        h3d.read(f"{tmp_path}@cup")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotation\.json.*h3d:FOLDER"):
        h3d.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    (tmp_path / "part1/0.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 10 images.*part1/0\.jpg"):
        h3d.read(path)


BROKEN: dict[str, tuple[dict[str, Any], type[DataError], str]] = {
    "name": ({"name": "part2/1.jpg"}, FormatError, "1 names of images repeat"),
    "outside": ({"name": "../../x.jpg"}, DataError, "leaves the data root"),
    "absolute": ({"name": "/etc/x.jpg"}, DataError, "leaves the data root"),
    "windows": ({"name": "C:\\data\\x.jpg"}, DataError, "leaves the data root"),
    "points": ({"keypoint2d": [[1, 2]] * 20}, FormatError, "keypoint2d must be 21×2"),
    "nan": ({"keypoint2d": [[1, float("nan")]] * 21}, FormatError, "keypoint2d of row 2 are not finite"),
    "enormous": ({"keypoint2d": [[1, 1e30]] * 21}, FormatError, "keypoint2d of row 2 are not finite or enormous"),
    "flag": ({"without_object": "no"}, FormatError, "not in H3D's layout"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(tmp_path: Path, kind: str) -> None:
    change, error, message = BROKEN[kind]
    path = miniature.write(tmp_path)
    rows = miniature.rows()
    rows[2] |= change
    (tmp_path / "annotation.json").write_text(json.dumps(rows))
    with pytest.raises(error, match=message):
        h3d.read(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", "null", "[" * 9999, "\udcff"])
def test_what_is_no_list_of_hands_is_refused(tmp_path: Path, text: str) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / "annotation.json").write_text(text, errors="surrogateescape")
    with pytest.raises(FormatError, match=r"annotation\.json"):
        h3d.read(path)
