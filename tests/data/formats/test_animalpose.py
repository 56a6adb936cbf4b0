from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import animalpose, read
from poseshift.data.skeletons import ANIMAL14, ANIMALPOSE20
from poseshift.errors import DataError, FormatError, UsageError


def instance(image: int, category: int, shift: float) -> dict[str, Any]:
    keypoints = [[shift + i, 2.0 * i, 1] if i % 3 else [0.0, 0.0, 0] for i in range(20)]
    return {"image_id": image, "category_id": category, "bbox": [1, 2, 21.5, 32], "keypoints": keypoints}


@pytest.fixture
def content() -> dict[str, Any]:
    return {
        "images": {"4": "a.jpg", "11": "b.jpg"},
        "annotations": [instance(11, 1, 0.0), instance(4, 3, 0.5), instance(4, 2, 1.0), instance(4, 1, 7.0)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(["dog", "cat", "sheep"], start=1)],
    }


@pytest.fixture
def root(tmp_path: Path, content: dict[str, Any]) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (30, 44)).save(tmp_path / "images" / name)
    (tmp_path / "keypoints.json").write_text(json.dumps(content))
    return tmp_path


def index(root: Path, **dog: list[int]) -> None:
    sheep = {"train": [1], "test": [], "test_image_disjoint": []}
    (root / "split_annotation_index.json").write_text(json.dumps({"dog": dog, "sheep": sheep}))


def test_dogs_and_sheep_with_14_joints_by_default(root: Path) -> None:
    data = read(f"animalpose:{root}")
    assert data.categories.tolist() == ["dog", "sheep", "dog"]
    assert data.groups.tolist() == ["11", "4", "4"]
    assert data.skeleton is ANIMAL14
    paw = ANIMALPOSE20.keypoints.index("left_front_paw")
    np.testing.assert_allclose(data.keypoints[2, 2], [7.0 + paw, 2.0 * paw])
    assert data[0].key == "images/b.jpg"
    np.testing.assert_array_equal(data.boxes[0], [1, 2, 21.5, 32])
    assert set(np.unique(data.visible)) == {0, 2}
    assert data.images.read(data[1].image).shape == (44, 30, 3)


def test_animals_and_all_joints_can_be_asked_for(root: Path) -> None:
    assert animalpose.read(f"{root}@cat").categories.tolist() == ["cat"]
    data = animalpose.read(f"{root}@sheep,animalpose20")
    assert data.skeleton is ANIMALPOSE20
    np.testing.assert_array_equal(data.visible[0], [2 if i % 3 else 0 for i in range(20)])
    assert len(animalpose.read(f"{root}@animalpose20")) == 3


def test_splits_follow_the_index(root: Path) -> None:
    with pytest.raises(DataError, match=r"'test' needs the published split.*split_annotation_index\.json"):
        animalpose.read(str(root), split="test")
    index(root, train=[3], test=[0], test_image_disjoint=[0])
    assert animalpose.read(str(root), split="train").categories.tolist() == ["sheep", "dog"]
    assert animalpose.read(f"{root}@dog", split="test_disjoint").groups.tolist() == ["11"]
    with pytest.raises(DataError, match="has no 'train' for 'cat'"):
        animalpose.read(f"{root}@cat", split="train")
    with pytest.raises(UsageError, match="no split 'val'"):
        read(f"animalpose:{root}", split="val")


@pytest.mark.parametrize("rows", [[1], [99], [-1]])
def test_an_index_of_another_file_is_refused(root: Path, rows: list[int]) -> None:
    index(root, train=rows)
    with pytest.raises(FormatError, match="does not fit keypoints"):
        animalpose.read(str(root), split="train")


def test_missing_folder_option_animal_and_image(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*gone.keypoints\.json"):
        animalpose.read(str(root / "gone"))
    with pytest.raises(UsageError, match=r"unknown option 'unicorn'.*dog, cat"):
        animalpose.read(f"{root}@unicorn")
    with pytest.raises(DataError, match="no instance of horse"):
        animalpose.read(f"{root}@horse")
    (root / "images/b.jpg").unlink()
    assert len(animalpose.read(f"{root}@sheep")) == 1
    with pytest.raises(DataError, match=r"1 images are not in .*images/b\.jpg"):
        animalpose.read(str(root))


Damage = Callable[[dict[str, Any]], Any]
BROKEN: dict[str, tuple[Damage, type[DataError], str]] = {
    "nan": (
        lambda c: c["annotations"][1]["keypoints"].__setitem__(1, [1, float("nan"), 1]),
        FormatError,
        "number 1 has a",
    ),
    "box": (lambda c: c["annotations"][1]["bbox"].__setitem__(2, float("nan")), FormatError, "number 1 has a bbox"),
    "count": (
        lambda c: [row["keypoints"].pop() for row in c["annotations"]],
        FormatError,
        "19 keypoints .*expected 20",
    ),
    "ragged": (lambda c: c["annotations"][0]["keypoints"].pop(), FormatError, "not in AnimalPose's layout"),
    "image": (lambda c: c["annotations"][2].update(image_id=5), DataError, "number 2 is of image '5'"),
    "category": (lambda c: c["annotations"][2].update(category_id=9), FormatError, "not in AnimalPose's layout"),
    "list": (lambda c: c.update(images=[]), FormatError, "not in AnimalPose's layout"),
    "key": (lambda c: c.pop("annotations"), FormatError, "not in AnimalPose's layout"),
    "traversal": (lambda c: c["images"].update({"4": "../../x.jpg"}), DataError, "leaves the data root"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_content_is_named(root: Path, content: dict[str, Any], kind: str) -> None:
    damage, error, message = BROKEN[kind]
    damage(content)
    (root / "keypoints.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        animalpose.read(str(root))


def test_what_is_no_json_is_refused(root: Path) -> None:
    (root / "keypoints.json").write_text("{")
    with pytest.raises(FormatError, match="no JSON"):
        animalpose.read(str(root))


def test_the_real_set(shared_data: Path) -> None:
    path = str(shared_data / "animalpose")
    assert len(animalpose.read(f"{path}@dog,cat,sheep,horse,cow")) == 2896
    data = animalpose.read(path)
    assert {str(name): int((data.categories == name).sum()) for name in np.unique(data.categories)} == {
        "dog": 1771,
        "sheep": 1078,
    }
    expected = {"train": (1416, 862), "test": (355, 216), "test_disjoint": (285, 92)}
    parts = {split: animalpose.read(path, split=split) for split in expected}
    for split, counts in expected.items():
        found = parts[split].categories
        assert ((found == "dog").sum(), (found == "sheep").sum()) == counts
    for animal in ("dog", "sheep"):
        groups = {split: set(part.groups[part.categories == animal]) for split, part in parts.items()}
        assert groups["train"] & groups["test"]
        assert not groups["train"] & groups["test_disjoint"]
    assert crop_regions(data, "given").shape == (2849, 4)
    # An independent look at one instance, and at boxes being corners: nearly all keypoints lie inside.
    row = json.loads((shared_data / "animalpose/keypoints.json").read_text())["annotations"][0]
    np.testing.assert_allclose(data.keypoints[0, 0], row["keypoints"][0][:2], rtol=1e-6)
    x, y = data.keypoints[..., 0], data.keypoints[..., 1]
    x0, y0, x1, y1 = data.boxes.T[..., None] + np.array([-5, -5, 5, 5])[:, None, None]
    assert ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))[data.visible > 0].mean() > 0.97
