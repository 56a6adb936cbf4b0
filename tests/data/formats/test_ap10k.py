from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.miniatures import ap10k as miniature

from poseshift.data.formats import ap10k
from poseshift.data.skeletons.animals import AP10K17
from poseshift.errors import DataError, FormatError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def change(root: Path, part: str, **changes: object) -> None:
    file = root / f"annotations/ap10k-{part}-split1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_all_parts_of_the_first_split_by_default(root: Path) -> None:
    data = ap10k.read(str(root))
    assert data.name == "ap10k"
    assert data.skeleton is AP10K17
    assert [record.key for record in data] == [f"{i:012d}.jpg" for i in (1, 2, 3, 4)]
    assert data.categories.tolist() == ["dog", "king cheetah", "dog", "king cheetah"]
    np.testing.assert_allclose(data.keypoints[2, 5], [5 + 3, 10])
    assert data.visible[2].tolist() == [2, 2, 2, 0, 1, *[2] * 12]
    np.testing.assert_array_equal(data.boxes[0], [1, 2, 21, 32])
    assert data.images.read(3).shape == (44, 40, 3)
    assert data.groups.tolist() == ["1", "2", "3", "4"]


def test_parts_and_species(root: Path) -> None:
    assert [len(ap10k.read(str(root), split=split)) for split in ("train", "val", "test", "all")] == [2, 1, 1, 4]
    data = ap10k.read(f"{root}@split=1, king cheetah")
    assert [record.key for record in data] == ["000000000002.jpg", "000000000004.jpg"]
    for part in miniature.PARTS:
        shutil.copy(root / f"annotations/ap10k-{part}-split1.json", root / f"annotations/ap10k-{part}-split3.json")
    change(root, "val", annotations=[])
    assert len(ap10k.read(f"{root}@split=3", split="val")) == 1


def test_without_labels_every_instance_is_kept(root: Path) -> None:
    bare = miniature.instance(3, 8) | {"keypoints": [0] * 51}
    change(root, "val", annotations=[miniature.instance(3, 8), bare | {"id": 99}])
    assert len(ap10k.read(str(root), split="val")) == 1
    data = ap10k.read(str(root), split="val", labelled=False)
    assert len(data) == 2
    assert not data.visible.any()


def test_what_is_missing_or_unknown(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for a folder .*gone.annotations"):
        ap10k.read(str(root / "gone"))
    with pytest.raises(DataError, match=r"looked for .*ap10k-train-split2\.json"):
        ap10k.read(f"{root}@split=2")
    for option in ("split=4", "split=1,split=2", "split="):
        with pytest.raises(UsageError, match=r"expected one of split=1, split=2, split=3"):
            ap10k.read(f"{root}@{option}")
    with pytest.raises(UsageError, match=r"no 'unicorn' in .*dog, king cheetah"):
        ap10k.read(f"{root}@unicorn")
    with pytest.raises(UsageError, match="no split 'valid'; expected one of all, train, val, test"):
        ap10k.read(str(root), split="valid")
    (root / "data/000000000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 1 images have no file.*000000000003\.jpg"):
        ap10k.read(str(root))


def test_other_keypoints_and_paths_that_leave_the_root_are_refused(root: Path) -> None:
    names = [*miniature.NAMES[1:], "left_eye"]
    change(root, "test", categories=[{"id": 27, "name": "king cheetah", "keypoints": names}])
    with pytest.raises(FormatError, match=r"ap10k-test-split1.json': keypoints \['right_eye'.*expected \['left_eye'"):
        ap10k.read(str(root), split="test")
    change(root, "val", images=[{"id": 3, "file_name": "../000000000003.jpg"}])
    with pytest.raises(DataError, match="leaves the data root"):
        ap10k.read(str(root), split="val")
    (root / "annotations/ap10k-train-split1.json").write_text("{")
    with pytest.raises(FormatError, match="no JSON"):
        ap10k.read(str(root), split="train")


def test_the_real_sample(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "samples/coco_style_ap10k"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copy(sample / "test_ap10k.json", tmp_path / "annotations/ap10k-test-split1.json")
    for image in sample.glob("*.jpg"):
        shutil.copy(image, tmp_path / "data" / image.name)
    data = ap10k.read(str(tmp_path), split="test")
    assert data.skeleton is AP10K17
    assert data.categories.tolist() == ["jaguar", "antelope"]
    rows = json.loads((sample / "test_ap10k.json").read_text())["annotations"]
    assert [row["image_id"] for row in rows] == [37516, 4]
    np.testing.assert_array_equal(data.keypoints[0, 0], [134, 415])
    np.testing.assert_array_equal(data.keypoints[1, 16], [765, 497])
    np.testing.assert_array_equal(data.boxes[0], [66, 192, 66 + 1092, 192 + 512])
    assert (data.visible == 2).sum(axis=1).tolist() == [16, 16]
    assert data.visible[:, 1].tolist() == [0, 0], "the right eye is not labelled in either"
    assert data.images.read(0).shape == (867, 1200, 3)
