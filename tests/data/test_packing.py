from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseshift.data import formats
from poseshift.data.packing import Instances, Picture, Shards
from poseshift.errors import DataError
from poseshift.types import Annotations

pytest.importorskip("pyarrow")


@pytest.fixture
def data() -> Annotations:
    return formats.read("figures:source,count=6,side=16")


def test_images_without_an_instance_are_left_out(data: Annotations) -> None:
    instances = Instances.of(data.select([5, 1, 5, 3]))
    assert instances.images.tolist() == [1, 3, 5]
    assert instances.starts.tolist() == [0, 1, 2, 4]
    assert instances.ids.tolist() == [1, 3, 0, 2]
    assert instances.key(2) == data.images.key(5)
    np.testing.assert_array_equal(instances.points[0], data.keypoints[1])


@pytest.mark.parametrize(
    ("sizes", "shards"),
    [
        ([10] * 6, [(3, 3)]),  # row groups of 30 bytes
        ([30] * 6, [(1, 1, 1), (1, 1, 1)]),
        ([100] * 6, [(1,)] * 6),  # larger than a shard
        ([0] * 6, [(6,)]),
        ([80, 1, 1, 1, 1, 80], [(1, 4), (1,)]),
    ],
)
def test_row_groups_and_shards_end_where_they_are_full(
    data: Annotations, tmp_path: Path, sizes: list[int], shards: list[tuple[int, ...]]
) -> None:
    writer = Shards(tmp_path, "train", Instances.of(data), shard_bytes=100, group_bytes=30)
    for size in sizes:
        writer.add(Picture(content=bytes(size), size=(4, 3)))
    notes = writer.close()
    assert [note.rows for note in notes] == shards
    total = len(shards)
    assert [note.file for note in notes] == [f"data/train-{n:05d}-of-{total:05d}.parquet" for n in range(total)]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [Path(note.file).name for note in notes]


@pytest.mark.parametrize("column", ["groups", "categories"])
def test_a_name_that_is_no_text_is_refused(data: Annotations, column: str) -> None:
    wrong = replace(data, **{column: np.array(["a\udc80"] * 6)})
    with pytest.raises(DataError, match=r"is called 'a\\udc80', which is no Unicode text; rename it"):
        Instances.of(wrong)


def test_a_shard_is_complete_for_other_readers(data: Annotations, tmp_path: Path) -> None:
    """One row an image with the labels nested, read by pyarrow alone."""
    import json

    import pyarrow.parquet as pq

    instances = Instances.of(data.select([0, 2, 2, 1]))
    writer = Shards(tmp_path, "train", instances, shard_bytes=1000, group_bytes=1000)
    for number in range(3):
        writer.add(Picture(content=bytes([number]), size=(16, 15)))
    table = pq.read_table(tmp_path / writer.close()[0].file)
    rows = table.to_pylist()
    assert [row["image"] for row in rows] == [{"bytes": bytes([n]), "path": data.images.key(n)} for n in range(3)]
    assert [(row["width"], row["height"]) for row in rows] == [(16, 15)] * 3
    assert [[one["id"] for one in row["instances"]] for row in rows] == [[0], [3], [1, 2]]
    triples = np.concatenate([data.keypoints[2], data.visible[2, :, None]], axis=1)
    assert rows[2]["instances"][0] == rows[2]["instances"][1] | {"id": 1}
    np.testing.assert_array_equal(rows[2]["instances"][0]["keypoints"], triples.ravel())
    np.testing.assert_array_equal(np.float32(rows[2]["instances"][0]["box"]), data.boxes[2])
    assert rows[2]["instances"][0]["category"] == "person"
    assert json.loads(table.schema.metadata[b"skeleton"])["keypoints"] == list(data.skeleton.keypoints)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert (list(features), features["image"]) == (table.column_names, {"_type": "Image"})
