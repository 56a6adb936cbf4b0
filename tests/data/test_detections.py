import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict.films import film

from poseshift.apps.predict.inputs import open_inputs
from poseshift.data.detections import read_boxes
from poseshift.errors import DataError, FormatError, UsageError


def write(folder: Path, images: Any, annotations: Any) -> Path:
    file = folder / "boxes.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def box(image: object, *numbers: object, **more: object) -> dict[str, object]:
    return {"id": 5, "image_id": image, "bbox": list(numbers), **more}


def test_boxes_become_corners_and_keep_their_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = tiny.photos(tmp_path / "in", 3)
    images = [
        {"id": 9, "file_name": "photo02.jpg"},
        {"id": "x7", "file_name": "photo00.jpg"},
        {"id": 3, "file_name": "z"},
    ]
    rows = [box(9, 1, 2.5, 3, 4, category_id=8), box("x7", -5, -6, 20, 30), box(3, 0, 0, 1, 1), box(77, 0, 0, 1, 1)]
    with caplog.at_level(logging.WARNING):
        found = read_boxes(write(tmp_path, images, rows), open_inputs(files))
    assert found.boxes.tolist() == [[1, 2.5, 4, 6.5], [-5, -6, 15, 24]]
    assert (found.groups.tolist(), found.categories.tolist()) == (["9", "x7"], ["8", "1"])
    assert found.image_index.tolist() == [2, 0]
    assert found.individuals.tolist() == ["", ""]
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
            read_boxes(boxes, open_inputs(files))
    else:
        assert read_boxes(boxes, open_inputs(files)).image_index.tolist() == [expected]


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
        read_boxes(boxes, open_inputs(files))
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
        ('{"images": [{"id": [1]}], "annotations": []}', r"image id \[1\], expected a number or a text"),
        ('{"images": [{"id": 1, "frame_id": -1}], "annotations": []}', "frame_id -1, expected a number from 0 on"),
    ],
)
def test_files_that_hold_no_boxes(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=words):
        read_boxes(tmp_path / "boxes.json", open_inputs(tiny.photos(tmp_path / "in", 1)))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); .*give a COCO json"):
        read_boxes(tmp_path / "nothing.json", open_inputs(tiny.photos(tmp_path / "in", 1)))


def test_boxes_of_frames_from_json_and_csv(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video, photos = film(tmp_path / "in/a.mp4", range(4)), tiny.photos(tmp_path / "in", 1)
    inputs = open_inputs([video, *photos])
    images = [
        {"id": 1, "file_name": "a.mp4", "frame_id": 2},
        {"id": 2, "file_name": "a.mp4#000000"},
        {"id": 3, "file_name": "photo00.jpg"},
        {"id": 4, "file_name": "a.mp4", "frame_id": 4},
    ]
    rows = [box(1, 1, 2, 3, 4, track_id=7), box(1, 5, 5, 9, 9, track_id=8), box(2, 1, 2, 3, 4), box(3, 1, 2, 3, 4)]
    found = read_boxes(write(tmp_path, images, [*rows, box(4, 1, 2, 3, 4)]), inputs)
    assert found.image_index.tolist() == [2, 2, 0, 4]
    assert found.individuals.tolist() == ["7", "8", "", ""]
    assert "1 boxes belong to none of the images, 2 images have no box" in caplog.text

    (tmp_path / "boxes.csv").write_text(
        "id,file,frame,x,y,width,height\n7,a.mp4,2,1,2,3,4\n8,in/a.mp4,2,5,5,9,9\n,a.mp4,0,1,2,3,4\n,photo00.jpg,,1,2,3,4\n"
    )
    same = read_boxes(tmp_path / "boxes.csv", inputs)
    for column in ("image_index", "boxes", "individuals", "categories"):
        np.testing.assert_array_equal(getattr(same, column), getattr(found, column))
    assert same.groups.tolist() == ["3", "3", "1", "5"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no column file, x, y, width, height"),
        ("file,x,y,width\n", "has no column height; expected file, x, y"),
        ("file,x,y,width,height\nphoto00.jpg,1,2,3\n", r"line 2: bbox \[1.0, 2.0, 3.0, None\], expected four numbers"),
        ("file,x,y,width,height\nphoto00.jpg,1,2,3,nan\n", "line 2: bbox .*expected four numbers"),
        ("file,x,y,width,height\nphoto00.jpg,1,2,0,4\n", "line 2: bbox .*the last two above 0"),
        ("file,x,y,width,height,frame\nphoto00.jpg,1,2,3,4,first\n", "line 2: frame 'first', expected a number"),
        ("file,x,y,width,height\nphoto07.jpg,1,2,3,4\n", "no box belongs to any of the 1 images, such as .*photo00"),
        ("file,x,y,width,height,id\n" + "photo00.jpg,1,2,3,4,a\n" * 2, "id 'a' is twice in image 1"),
        ('file,x,y,width,height\n"photo00.jpg,1,2,3,4\n', "unexpected end of data; correct it"),
    ],
)
def test_a_csv_that_holds_no_boxes(content: str, words: str, tmp_path: Path) -> None:
    inputs = open_inputs(tiny.photos(tmp_path / "in", 1))
    (tmp_path / "boxes.csv").write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_boxes(tmp_path / "boxes.csv", inputs)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="expected a COCO json or a csv"):
        read_boxes(tmp_path / "boxes.txt", inputs)
