import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny

from poseshift.data import detections
from poseshift.errors import DataError, FormatError


def write(folder: Path, images: Any, annotations: Any) -> Path:
    file = folder / "boxes.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def box(image: object, *numbers: object, **more: object) -> dict[str, object]:
    return {"id": 5, "image_id": image, "bbox": list(numbers), **more}


def test_whole_images_have_their_outline_as_box(tmp_path: Path) -> None:
    files = [*tiny.photos(tmp_path / "a", 1, size=(50, 20)), *tiny.photos(tmp_path / "b", 1, size=(7, 31))]
    found = detections.whole_images(files)
    assert found.boxes.tolist() == [[-0.5, -0.5, 49.5, 19.5], [-0.5, -0.5, 6.5, 30.5]]
    assert found.groups.tolist() == ["1", "2"]
    assert [record.key for record in found] == list(map(str, files))
    assert len(found.skeleton) == 0
    assert found.images.read(1).shape == (31, 7, 3)


def test_files_that_are_no_images_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = tiny.photos(tmp_path, 3)
    files[1].write_text("no image")
    with caplog.at_level(logging.WARNING):
        found = detections.whole_images(files)
    assert found.groups.tolist() == ["1", "3"]
    assert "photo01.jpg" in caplog.text
    for file in files:
        file.write_text("no image")
    with pytest.raises(DataError, match="none of the 3 files is an image"):
        detections.whole_images(files)


def test_boxes_become_corners_and_keep_their_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = tiny.photos(tmp_path / "in", 3)
    images = [
        {"id": 9, "file_name": "photo02.jpg"},
        {"id": "x7", "file_name": "photo00.jpg"},
        {"id": 3, "file_name": "z"},
    ]
    rows = [box(9, 1, 2.5, 3, 4, category_id=8), box("x7", -5, -6, 20, 30), box(3, 0, 0, 1, 1), box(77, 0, 0, 1, 1)]
    with caplog.at_level(logging.WARNING):
        found = detections.from_coco(write(tmp_path, images, rows), files)
    assert found.boxes.tolist() == [[1, 2.5, 4, 6.5], [-5, -6, 15, 24]]
    assert (found.groups.tolist(), found.categories.tolist()) == (["9", "x7"], ["8", "1"])
    assert found.image_index.tolist() == [2, 0]
    assert found.note == "boxes from boxes.json"
    assert "2 boxes belong to none of the images, 1 images have no box" in caplog.text
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/photo00.jpg", 0),
        ("./b/photo00.jpg", 1),
        ("b\\photo00.jpg", 1),
        ("/elsewhere/c/photo01.jpg", 2),
        ("photo00.jpg", None),
        ("other/photo00.jpg", None),
        ("hoto01.jpg", None),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_files_are_found_by_the_end_of_their_path(
    name: str, expected: int | None, relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files are called photo00.jpg, one photo01.jpg; relative paths are matched from their first letter on."""
    monkeypatch.chdir(tmp_path)
    for folder, count in (("a", 1), ("b", 1), ("c", 2)):
        tiny.photos(tmp_path / folder, count)
    base = Path() if relative else tmp_path
    files = [base / "a/photo00.jpg", base / "b/photo00.jpg", base / "c/photo01.jpg"]
    boxes = write(tmp_path, [{"id": 1, "file_name": name}], [box(1, 0, 0, 5, 5)])
    if expected is None:
        with pytest.raises(DataError, match=r"no box belongs to any of the 3 images, such as .*photo00\.jpg"):
            detections.from_coco(boxes, files)
    else:
        assert detections.from_coco(boxes, files).image_index.tolist() == [expected]


@pytest.mark.parametrize(
    "numbers",
    [
        *((1, 2, 3), (1, 2, 3, 4, 5), ("1", 2, 3, 4), (1, 2, 0, 4)),
        *((1, 2, 3, -4), (1, 2, None, 4), ([1], 2, 3, 4), (1, 2, 1e999, 4)),
    ],
)
def test_a_box_that_is_none_is_named(numbers: tuple[object, ...], tmp_path: Path) -> None:
    files = tiny.photos(tmp_path / "in", 1)
    boxes = write(tmp_path, [{"id": 1, "file_name": "photo00.jpg"}], [box(1, *numbers)])
    with pytest.raises(FormatError, match=r"boxes\.json: annotation 5: bbox .*expected four numbers") as caught:
        detections.from_coco(boxes, files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no JSON"),
        ("[]", "no list 'images' of objects"),
        ('{"images": []}', "no list 'annotations' of objects"),
        ('{"images": 3, "annotations": []}', "no list 'images' of objects"),
        ('{"images": [3], "annotations": []}', "no list 'images' of objects"),
        ('{"images": [{}], "annotations": [null]}', "no list 'annotations' of objects"),
        ('{"images": [{}], "annotations": [{}]}', "no box belongs to any"),
        ("\xff", "no JSON"),
    ],
)
def test_files_that_hold_no_boxes(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=words):
        detections.from_coco(tmp_path / "boxes.json", tiny.photos(tmp_path / "in", 1))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); .*give a COCO json"):
        detections.from_coco(tmp_path / "nothing.json", [])
