from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.miniatures import freihand as miniature

from poseshift.data.formats import freihand
from poseshift.data.skeletons.hands import HAND21
from poseshift.errors import DataError, FormatError, UsageError


def test_joints_are_projected_and_images_come_in_four_versions(tmp_path: Path) -> None:
    data = freihand.read(miniature.write(tmp_path))
    assert len(data) == 12
    assert data.skeleton is HAND21
    # gs, auto, sample, hom: the order before the shuffle; numbers are those of the files.
    assert [int(Path(r.key).stem) for r in data] == [0, 1, 2, 9, 10, 11, 6, 7, 8, 3, 4, 5]
    for record in data:
        pose = int(Path(record.key).stem) % 3
        steps = np.arange(21)
        np.testing.assert_allclose(record.keypoints, np.stack([112 + steps + pose, 112 - 2 * steps], 1), rtol=1e-5)
        assert record.group == f"training/{pose}"
    np.testing.assert_allclose(data.boxes[0], [112, 72, 132, 112], rtol=1e-5)
    assert (data.visible == 2).all()
    assert data.images.read(3).shape == (220, 224, 3)


def test_the_split_is_the_published_shuffle(tmp_path: Path) -> None:
    path = miniature.write(tmp_path)
    keys = [r.key for r in freihand.read(path)]
    random.seed(42)
    random.shuffle(keys)
    assert [r.key for r in freihand.read(path, split="test")] == keys[:2]
    assert [r.key for r in freihand.read(path, split="train")] == keys[2:]
    assert [int(Path(r.key).stem) for r in freihand.read(f"{path}@hom,gs")] == [0, 1, 2, 3, 4, 5]
    assert [r.key for r in freihand.read(path, split="evaluation")] == ["evaluation/rgb/00000000.jpg"]
    with pytest.raises(DataError, match=r"'test'.*empty.*only 3 images"):
        freihand.read(f"{path}@gs", split="test")
    with pytest.raises(UsageError, match="unknown option 'blue'"):
        freihand.read(f"{path}@blue")
    with pytest.raises(UsageError, match="no split 'val'"):
        freihand.read(path, split="val")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training_K\.json.*freihand:FOLDER"):
        freihand.read(str(tmp_path / "gone"))
    path = miniature.write(tmp_path)
    (tmp_path / "evaluation_xyz.json").unlink()
    with pytest.raises(DataError, match=r"needs .*evaluation_xyz\.json.*published later"):
        freihand.read(path, split="evaluation")
    (tmp_path / "training/rgb/00000011.jpg").unlink()
    assert len(freihand.read(f"{path}@gs")) == 3
    with pytest.raises(DataError, match=r"1 of 12 images.*00000011\.jpg"):
        freihand.read(path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("K", "{}", "holds an object, expected a list"),
        ("K", "[[1, 2]", "no JSON"),
        ("K", "[" * 100_000, "no JSON"),
        ("K", "[]", "0 rows and 'training_xyz.json' has 3"),
        ("K", "[[[1]]]", "K must be 3×3 numbers"),
        ("xyz", json.dumps([[[1, 2, 3]] * 20] * 3), "joints must be 21×3"),
        ("xyz", json.dumps([[[1, 2, 3]] * 21, [[1, 2]] * 21]), "joints must be 21×3"),
        ("xyz", json.dumps([[[1, 2, 3]] * 21] * 2), "3 rows and 'training_xyz.json' has 2"),
        ("xyz", json.dumps([[[1, 2, 3]] * 21, [[1, 2, float("nan")]] * 21, [[1, 2, 3]] * 21]), "joints of row 1"),
        (
            "xyz",
            json.dumps([[[1, 2, 3]] * 21, [[1, 2, -3]] * 21, [[1, 2, 3]] * 21]),
            "row 1 has a joint that is not in",
        ),
        ("xyz", json.dumps([["1e999"] * 63] * 3), "joints of row 0"),
        ("xyz", "\xff", "no JSON"),
    ],
)
def test_broken_files(tmp_path: Path, file: str, text: str, message: str) -> None:
    path = miniature.write(tmp_path)
    (tmp_path / f"training_{file}.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=message):
        freihand.read(path)


def test_the_real_order_of_joints(shared_data: Path) -> None:
    """Eight real hands, stored elsewhere in FreiHAND's own order: bones are shorter than under another order."""
    rows = json.loads((shared_data / "samples/coco_style_freihand/test_freihand.json").read_text())["annotations"]
    points = np.array([row["keypoints"] for row in rows]).reshape(-1, 21, 3)[..., :2]
    tips_first = points[:, [0, *(4 * f + j for f in range(5) for j in (4, 3, 2, 1))]]
    a, b = np.array(HAND21.edges).T
    ours, other = (np.linalg.norm(p[:, a] - p[:, b], axis=2).sum(axis=1) for p in (points, tips_first))
    assert (ours < other).all()
