from __future__ import annotations

import json
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest

from poseshift.data import coco_rows
from poseshift.errors import FormatError


def rows_of(tmp_path: Path, *annotations: dict[str, Any], labelled: bool = True) -> coco_rows.Rows:
    document = {"images": [{"id": 7, "file_name": "a"}], "annotations": annotations, "categories": [{"id": 1}]}
    (tmp_path / "x.json").write_text(json.dumps(document))
    images, rows, categories = coco_rows.load(tmp_path / "x.json", labelled=labelled)
    assert (images, categories) == ([(7, "a")], [{"id": 1}])
    return rows


def test_columns(tmp_path: Path) -> None:
    first = {"id": 3, "image_id": 7, "category_id": 1, "iscrowd": 0, "keypoints": [1, 2.5, 2], "bbox": [1, 2, 3, 4]}
    rows = rows_of(tmp_path, {**first, "segmentation": [[1, 2]]}, {"id": 4, "image_id": 8, "group": "dog 1"})
    assert (rows.ids, rows.image_ids, rows.category_ids, rows.crowds) == ([3, 4], [7, 8], [1, None], [0, None])
    assert (rows.boxes, rows.groups) == ([pack("4d", 1, 2, 3, 4), None], ["7", "dog 1"])
    assert isinstance(rows.keypoints, list)
    assert rows.keypoints == [pack("3d", 1, 2.5, 2), b""]
    even = rows_of(tmp_path, first, {**first, "keypoints": [3, 4, 0]}).select([False, True])
    np.testing.assert_array_equal(even.keypoints, [[3, 4, 0]])
    assert len(rows.select([False, True])) == 1
    assert rows.select([False, True]).groups == ["dog 1"]


@pytest.mark.parametrize(
    ("lists", "points"),
    [
        ([[1, 2, 2, 3, 4, 0], [5, 6, 1, 7, 8, 2]], [[[1, 2], [0, 0]], [[5, 6], [7, 8]]]),
        ([[[1, 2, 2], [3, 4, 0]], [[5, 6, 1], [7, 8, 2]]], [[[1, 2], [0, 0]], [[5, 6], [7, 8]]]),
        ([[1, 2, 2, None, None, 0], [5, 6, 1, 7, 8, 2]], [[[1, 2], [0, 0]], [[5, 6], [7, 8]]]),
        ([[True, 2, 2, 3, 4, 0], [0.1, 6, 1, 7, 8, 2]], [[[1, 2], [0, 0]], [[np.float32(0.1), 6], [7, 8]]]),
    ],
    ids=["flat", "triples", "null where nothing is labelled", "a truth is a number"],
)
def test_keypoints_in_every_writing(tmp_path: Path, lists: list[Any], points: list[Any]) -> None:
    rows = rows_of(tmp_path, *({"id": i, "keypoints": values} for i, values in enumerate(lists)))
    found, visible = coco_rows.keypoints(rows, 2)
    np.testing.assert_array_equal(found, np.array(points, np.float32))
    assert visible.tolist() == [[2, 0], [1, 2]]


def test_boxes_alone_are_no_keypoints(tmp_path: Path) -> None:
    """A file of a detector: nothing is labelled, and that is all there is to say."""
    rows = rows_of(tmp_path, {"id": 1, "bbox": [1, 2, 3, 4]}, {"id": 2, "bbox": []})
    assert len(coco_rows.kept(rows, labelled=True)[0]) == 0
    np.testing.assert_array_equal(coco_rows.boxes(rows), [[1, 2, 4, 6], [np.nan] * 4])
    assert coco_rows.keypoints(rows, 0)[0].shape == (2, 0, 2)


def test_a_number_beyond_doubles_is_named(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {"id": 1, "keypoints": [10**400, 2, 2]})
    with pytest.raises(FormatError, match="must be numbers x, y, v"):
        coco_rows.keypoints(rows, 1)
    with pytest.raises(FormatError, match="'bbox' must be"):
        coco_rows.boxes(rows_of(tmp_path, {"id": 1, "bbox": [10**400, 2, 2, 1]}))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, [3], ["x"], [{}, None]])
def test_what_is_no_list_of_objects_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    document = {"images": [], "annotations": [], "categories": [], key: value}
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=f"has no list '{key}' of objects; expected COCO keypoints"):
        coco_rows.load(tmp_path / "x.json")


def test_labels_that_are_not_wanted_are_not_kept(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {"id": 1, "image_id": 7, "keypoints": "nonsense"}, labelled=False)
    assert rows.keypoints == [None]
    assert len(coco_rows.kept(rows, labelled=False)[0]) == 1
