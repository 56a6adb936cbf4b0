from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.formats.miniatures import synthetic_animal as miniature

from poseshift.data.boxes import crop_regions
from poseshift.data.formats import synthetic_animal
from poseshift.data.skeletons import ANIMAL14, map_keypoints
from poseshift.data.skeletons.animals import ANIMAL18
from poseshift.data.splits import published_rows
from poseshift.errors import DataError, FormatError, UsageError

HORSE = "synthetic_animal/horse_combineds5r5_texture"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniature.write(tmp_path)
    return tmp_path


def test_joints_are_vertices_half_a_pixel_back(root: Path) -> None:
    data = synthetic_animal.read(str(root))
    assert data.skeleton is ANIMAL18
    assert data.categories.tolist() == ["horse", "horse", "tiger"]
    for row in range(3):
        for i in range(18):
            np.testing.assert_allclose(data.keypoints[row, i], [10 * i + 19.5, 399.5 - 10 * i])
            assert data.visible[row, i] == 1 + i % 2
    assert data[0].key == f"{HORSE}/{miniature.NAMES[0]}.png_img.png"
    assert data.groups.tolist()[:2] == ["horse_combineds5r5_texture/Horse_walk_0.10"] * 2
    assert data.images.read(1).shape == (480, 640, 3)
    assert data.reference_shift == 0.5


def test_the_box_is_that_of_the_mesh_within_the_picture(root: Path) -> None:
    array = miniature.vertices("horse", 0)
    array[5] = -30, 700, 0
    np.save(root / HORSE / f"{miniature.NAMES[0]}.png_kpts.npy", array)
    data = synthetic_animal.read(str(root))
    np.testing.assert_allclose(data.boxes[0], [-0.5, array[:, 1].min() - 0.5, array[:, 0].max() - 0.5, 479.5])
    region = crop_regions(data, "given")[0]
    np.testing.assert_allclose(region[2] - region[0], 1.25 * (array[:, 0].max()), rtol=1e-5)


def test_a_joint_outside_the_picture_is_not_labelled(root: Path) -> None:
    array = miniature.vertices("horse", 0)
    for joint, place in enumerate(((-0.1, 5), (640, 5), (5, 480), (639.9, 479.9))):
        array[synthetic_animal.VERTICES["horse"][joint]] = *place, 1
    np.save(root / HORSE / f"{miniature.NAMES[0]}.png_kpts.npy", array)
    data = synthetic_animal.read(str(root))
    assert data.visible[0, :4].tolist() == [0, 0, 0, 2]
    assert not data.keypoints[0, :3].any()


def test_fourteen_joints_are_those_of_the_published_lists(root: Path) -> None:
    kept = list(map_keypoints(ANIMAL18, ANIMAL14).index)
    hound, sheep = (np.array(synthetic_animal.VERTICES[name])[kept].tolist() for name in ("hound", "sheep"))
    assert hound == [2028, 2580, 878, 977, 1541, 1734, 799, 1575, 1446, 602, 780, 1580, 466, 631]
    assert sheep == [2046, 1944, 1875, 1900, 1868, 1894, 173, 1829, 1422, 821, 622, 575, 1370, 716]
    miniature.write_animal(root, "hound")
    miniature.write_animal(root, "sheep")
    data = synthetic_animal.read(f"{root}@14")
    assert data.skeleton is ANIMAL14
    assert data.categories.tolist() == ["dog", "dog", "sheep", "sheep"]
    np.testing.assert_allclose(data.keypoints[0, :, 0], [10 * i + 19.5 for i in kept])
    assert synthetic_animal.read(f"{root}@dog").categories.tolist() == ["dog", "dog"]


def test_splits_of_the_file_beside_the_data(root: Path) -> None:
    train = synthetic_animal.read(str(root), split="train")
    assert train[0].key.endswith(f"{miniature.NAMES[1]}.png_img.png")
    assert train.categories.tolist() == ["horse", "tiger"]
    assert len(synthetic_animal.read(f"{root}@horse", split="valid")) == 1
    with pytest.raises(DataError, match=r"'tiger'/'valid' is empty"):
        synthetic_animal.read(f"{root}@tiger", split="valid")
    (root / "synthetic_animal.json").unlink()
    with pytest.raises(DataError, match=r"'train' needs the published positions in .*synthetic_animal\.json"):
        synthetic_animal.read(str(root), split="train")
    with pytest.raises(UsageError, match="no split 'test'; expected one of all, train, valid"):
        synthetic_animal.read(str(root), split="test")


def clean(root: Path, number: int, **change: Any) -> Path:
    """The clean file of the horses, as the published script writes it."""
    ids = np.array(synthetic_animal.VERTICES["horse"])
    if number == 14:
        ids = ids[list(map_keypoints(ANIMAL18, ANIMAL14).index)]
    arrays = [miniature.vertices("horse", i) for i in range(2)]
    entry = {
        "keypoints": [array[ids].tolist() for array in arrays],
        "imgpath": [f"./animal_data/{HORSE}/{name}.png_img.png" for name in miniature.NAMES],
        "bbox": [[a[:, 0].min(), a[:, 0].max(), a[:, 1].min(), a[:, 1].max()] for a in arrays],
        "train_idxs": [0],
        "valid_idxs": [1],
    }
    (root / "clean_data").mkdir(exist_ok=True)
    file = root / "clean_data" / f"keypoints_{number}.json"
    file.write_text(json.dumps({"horse": {**entry, **change}}))
    return file


@pytest.mark.parametrize("number", [18, 14])
def test_the_clean_file_says_the_same_as_the_arrays(root: Path, number: int) -> None:
    arrays = synthetic_animal.read(f"{root}@{number},horse")
    clean(root, number)
    for file in (root / HORSE).glob("*.npy"):
        file.unlink()
    data = synthetic_animal.read(f"{root}@{number},horse")
    for column in ("keypoints", "visible", "boxes", "groups", "categories"):
        np.testing.assert_array_equal(getattr(data, column), getattr(arrays, column))
    assert data[1].key == arrays[1].key
    (root / "synthetic_animal.json").unlink()
    assert synthetic_animal.read(f"{root}@{number},horse", split="train")[0].key == arrays[0].key
    assert synthetic_animal.read(f"{root}@{number},horse", split="valid")[0].key == arrays[1].key


def test_missing_folder_option_image_and_array(root: Path) -> None:
    with pytest.raises(DataError, match=r"looked for images in .*gone.*found none"):
        synthetic_animal.read(str(root / "gone"))
    with pytest.raises(UsageError, match=r"unknown option 'unicorn'.*18, 14, horse"):
        synthetic_animal.read(f"{root}@unicorn")
    with pytest.raises(UsageError, match="both 18 and 14"):
        synthetic_animal.read(f"{root}@14,18")
    (root / HORSE / f"{miniature.NAMES[0]}.png_kpts.npy").unlink()
    with pytest.raises(DataError, match=r"_kpts\.npy' is missing beside its image"):
        synthetic_animal.read(str(root))
    clean(root, 18)
    (root / HORSE / f"{miniature.NAMES[1]}.png_img.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images are not in .*40\.00_10\.00\.png_img\.png"):
        synthetic_animal.read(str(root))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((100, 3)), r"shape \(100, 3\), expected \(at least 1719, 3\)"),
        (np.zeros((3299, 2)), r"shape \(3299, 2\)"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.full((3299, 3), np.nan), "vertex 0 is not finite"),
        (np.full((3299, 3), "x"), "no array of numbers"),
        (np.full((3299, 3), 1j), "no array of numbers"),
        (np.array([[{}] * 3]), "no array of numbers"),
    ],
    ids=["few", "columns", "flat", "nan", "text", "complex", "pickle"],
)
def test_a_wrong_array_is_refused(root: Path, array: np.ndarray, message: str) -> None:
    np.save(root / HORSE / f"{miniature.NAMES[1]}.png_kpts.npy", array, allow_pickle=True)
    with pytest.raises(FormatError, match=message):
        synthetic_animal.read(str(root))


def test_a_truncated_array_is_refused(root: Path) -> None:
    file = root / HORSE / f"{miniature.NAMES[1]}.png_kpts.npy"
    whole = file.read_bytes()
    for length in (0, 5, 90, len(whole) - 3):
        file.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="no array of numbers"):
            synthetic_animal.read(str(root))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"keypoints": [[[1, 2, 1]] * 17] * 2}, FormatError, r"keypoints \(2, 17, 3\).*\(N, 18, 3\)"),
        ({"keypoints": [[[1, 2]], []]}, FormatError, "no keypoints, imgpath and bbox as numbers"),
        ({"keypoints": [[[1, 2, float("inf")]] * 18] * 2}, FormatError, "has a number that is not finite"),
        ({"bbox": [[1, 2, 3]] * 2}, FormatError, r"bbox \(2, 3\)"),
        ({"bbox": [[1, 2, 3, 10**400]] * 2}, FormatError, "as numbers"),
        ({"imgpath": ["a.png"]}, FormatError, "1 images"),
        ({"imgpath": None}, FormatError, "as numbers"),
        ({"imgpath": ["../x_img.png"] * 2}, DataError, "leaves the data root"),
        ({"imgpath": [r"C:\synthetic_animal\..\..\x_img.png"] * 2}, DataError, "leaves the data root"),
        ({"imgpath": ["/x_img.png"] * 2}, DataError, "leaves the data root"),
    ],
)
def test_a_wrong_clean_file_is_refused(
    root: Path, change: dict[str, Any], error: type[DataError], message: str
) -> None:
    clean(root, 18, **change)
    with pytest.raises(error, match=message):
        synthetic_animal.read(f"{root}@horse")


@pytest.mark.parametrize("content", ["{", "[1]", b"\xff\xfe", "{}"])
def test_what_is_no_object_of_animals_is_refused_and_an_empty_one_passed_over(root: Path, content: str | bytes) -> None:
    file = clean(root, 18)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if content == "{}":
        assert len(synthetic_animal.read(f"{root}@horse")) == 2
        return
    with pytest.raises(FormatError, match=r"no JSON|expected an object"):
        synthetic_animal.read(f"{root}@horse")


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0, 2], "reaches from 0 to 2, but the data has 2"),
        ([-1], "reaches from -1"),
        ([0, 0], "names a position twice"),
        ([0.5], "no list of whole numbers"),
        ([True], "no list of whole numbers"),
        ("0", "no list of whole numbers"),
        (None, "no list of whole numbers"),
    ],
)
def test_a_wrong_split_is_refused(root: Path, positions: Any, message: str) -> None:
    (root / "synthetic_animal.json").write_text(json.dumps({"horse": {"train": positions}}))
    with pytest.raises(FormatError, match=message):
        synthetic_animal.read(f"{root}@horse", split="train")
    with pytest.raises(DataError, match="has no list 'valid' for 'horse'"):
        synthetic_animal.read(f"{root}@horse", split="valid")


def test_the_published_splits_fit_ten_thousand_images(shared_data: Path) -> None:
    content = json.loads((shared_data / "splits/synthetic_animal.json").read_text())
    for animal in synthetic_animal.VERTICES:
        rows = [published_rows(Path("x"), content, animal, split, count=10000) for split in ("train", "valid")]
        assert [len(part) for part in rows] == [8000, 2000]
        assert len(np.union1d(*rows)) == 10000
