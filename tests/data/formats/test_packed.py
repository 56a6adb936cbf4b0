from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.formats.miniatures import packed as miniature

from poseshift.apps.pack import pack
from poseshift.data import formats, parquet
from poseshift.data.formats import packed, read, read_unlabelled
from poseshift.data.images import ImageFiles
from poseshift.data.published import ENORMOUS
from poseshift.data.skeletons import from_names
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import Annotations, Skeleton

pa = pytest.importorskip("pyarrow")
COLUMNS = ("keypoints", "visible", "boxes", "groups", "categories")


@pytest.fixture
def made(tmp_path: Path) -> tuple[Annotations, Path]:
    """Annotations as the COCO reader gives them, and the folder that they were packed to in three row groups."""
    source = tmp_path / "source"
    source.mkdir()
    formats.write(miniature.instances(source), f"coco:{source / 'labels.json'}")
    pack(f"coco:{source / 'labels.json'}", tmp_path / "packed", group_bytes=5000)
    return read(f"coco:{source / 'labels.json'}"), tmp_path / "packed"


def equal(found: Annotations, expected: Annotations) -> None:
    """Bit by bit; images without an instance are gone, so images are compared by name."""
    for column in COLUMNS:
        one, other = getattr(found, column), getattr(expected, column)
        assert one.dtype.kind == other.dtype.kind
        same = one.tobytes() == other.tobytes() if one.dtype.kind in "fu" else one.tolist() == other.tolist()
        assert same, column
    used, numbered = np.unique(expected.image_index, return_inverse=True)
    np.testing.assert_array_equal(found.image_index, numbered)
    assert [found.images.key(i) for i in range(len(found.images))] == [expected.images.key(int(i)) for i in used]
    for name in ("name", "note", "skeleton", "reference_shift"):
        assert getattr(found, name) == getattr(expected, name), name


def test_what_is_read_is_what_was_packed(made: tuple[Annotations, Path]) -> None:
    expected, folder = made
    assert len(set(expected.image_index[:3].tolist())) > 1, "instances do not come in the order of their images"
    for found in (packed.read(str(folder)), packed.read(str(folder), split="train")):
        equal(found, expected)
        for row in range(len(found)):
            mine, theirs = int(found.image_index[row]), int(expected.image_index[row])
            np.testing.assert_array_equal(found.images.read(mine), expected.images.read(theirs))
            assert found.images.encoded(mine) == expected.images.encoded(theirs)
            assert found.images.size(mine) == expected.images.size(theirs)


@settings(max_examples=12, deadline=None)
@given(
    count=st.integers(1, 9),
    points=st.integers(0, 4),
    names=st.lists(st.text(max_size=6), min_size=4, max_size=4, unique=True),
    words=st.lists(st.text(max_size=12), min_size=3, max_size=3),
    rows=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_any_instances_survive(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    points: int,
    names: list[str],
    words: list[str],
    rows: int,
    seed: int,
) -> None:
    """Any float32 that a reader lets through, any text, any order of images and any size of a row group."""
    folder = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(seed)
    paths = tuple(f"{number}.png" for number in range(4))
    for path in paths:
        Image.new("RGB", (5, 3)).save(folder / path)
    visible = rng.integers(0, 3, (count, points)).astype(np.uint8)
    keypoints = rng.integers(0, 2**32, (count, points, 2), dtype=np.uint32).view(np.float32)
    boxes = rng.integers(0, 2**32, (count, 4), dtype=np.uint32).view(np.float32)
    keypoints[~(np.abs(keypoints) < ENORMOUS) & (visible > 0)[..., None]] = 0
    boxes[np.abs(boxes) >= ENORMOUS] = np.nan
    data = Annotations(
        name="any",
        images=ImageFiles(root=folder, paths=paths),
        image_index=rng.integers(0, 4, count),
        skeleton=Skeleton(name="s", keypoints=tuple(names[:points])),
        keypoints=keypoints,
        visible=visible,
        boxes=boxes,
        groups=np.array(words)[rng.integers(0, 3, count)],
        categories=np.array(words)[rng.integers(0, 3, count)],
        note=words[0],
        reference_shift=0.1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "read", lambda spec, *, split=None: data)
        patch.setattr("poseshift.data.packing.TABLE_ROWS", rows)
        pack("any:thing", folder / "packed", group_bytes=100)
    equal(packed.read(str(folder / "packed")), data)


def test_labels_are_not_even_read_where_they_are_not_wanted(made: tuple[Annotations, Path]) -> None:
    """Every page of a coordinate or a visibility is damaged; only who wants them notices."""
    expected, folder = made
    root = parquet.Root(str(folder))
    table = packed.read_index(root).splits["train"].table
    metadata, file = parquet.footer(root, table), folder / table.file
    content = bytearray(file.read_bytes())
    for column in (metadata.row_group(0).column(number) for number in range(metadata.num_columns)):
        if column.path_in_schema.endswith(("_x", "_y", "_v")):
            start = column.dictionary_page_offset or column.data_page_offset
            content[start + column.total_compressed_size - 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match="CRC"):
        packed.read(str(folder))
    data = read_unlabelled(f"packed:{folder}")
    assert not data.visible.any()
    assert not data.keypoints.any()
    assert data.skeleton == expected.skeleton
    np.testing.assert_array_equal(data.boxes, expected.boxes)


def test_opening_touches_no_shard(made: tuple[Annotations, Path]) -> None:
    expected, folder = made
    for shard in (folder / "data").iterdir():
        shard.unlink()
    data = packed.read(str(folder))
    assert [data.images.size(i) for i in range(5)] == list(miniature.SIZES)
    assert len(data) == len(expected)
    with pytest.raises(DataError, match=r"looked for a file .*train-00000-of-00001\.parquet.*found none"):
        data.images.read(0)


def test_from_a_url(made: tuple[Annotations, Path]) -> None:
    import fsspec

    expected, folder = made
    fsspec.filesystem("memory").put(str(folder), "/bucket/set", recursive=True)
    for url in ("memory://bucket/set", "memory://bucket/set/", "simplecache::memory://bucket/set"):
        data = read(f"packed:{url}", split="train")
        equal(data, expected)
        np.testing.assert_array_equal(data.images.read(4), packed.read(str(folder)).images.read(4))
    with pytest.raises(DataError, match=r"looked for a file 'memory://bucket/none/index\.json'"):
        read("packed:memory://bucket/none")


def test_splits_are_read_alone_or_together(tmp_path: Path) -> None:
    out = tmp_path / "two"
    pack("figures:source,count=6,side=16", out, splits=["train", "test"])
    parts = [read("figures:source,count=6,side=16", split=split) for split in ("train", "test")]
    for split, part in zip(("train", "test"), parts, strict=True):
        equal(packed.read(str(out), split=split), part)
    whole = packed.read(str(out))
    for column in COLUMNS:
        expected = np.concatenate([getattr(part, column) for part in parts])
        np.testing.assert_array_equal(getattr(whole, column), expected)
    assert whole.note == f"{parts[0].note} {parts[1].note}"
    for row in (0, 5, 6, 11):
        part = parts[row // 6]
        np.testing.assert_array_equal(whole.images.read(row), part.images.read(row % 6))
        assert whole[row].key == part[row % 6].key
    with pytest.raises(UsageError, match=r"has no split 'val'; expected one of train, test"):
        packed.read(str(out), split="val")


def change(folder: Path, **values: Any) -> None:
    """Changes values of the split in the index."""
    index = json.loads((folder / "index.json").read_text())
    index["splits"]["train"].update(values)
    (folder / "index.json").write_text(json.dumps(index))


def other_version(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "schema_version": 2}))


def outside(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["splits"]["train"]["table"]["file"] = "../table.parquet"
    (folder / "index.json").write_text(json.dumps(index))


BROKEN: dict[str, tuple[Callable[[Path], Any], type[DataError], str]] = {
    "no index": (lambda f: (f / "index.json").unlink(), DataError, r"looked for a file .*index\.json.*found none"),
    "no table": (
        lambda f: (f / "instances/train.parquet").unlink(),
        DataError,
        r"looked for .*instances/train\.parquet",
    ),
    "no JSON": (lambda f: (f / "index.json").write_text("{"), FormatError, r"index\.json' is no JSON"),
    "another file": (lambda f: (f / "index.json").write_text("{}"), FormatError, "is no index of packed data"),
    "newer": (other_version, FormatError, "has schema 2, this version reads 1; install a newer poseshift"),
    "outside": (outside, FormatError, r"names a file '\.\./table\.parquet' outside of its folder"),
    "counts": (lambda f: change(f, images=4), FormatError, "row groups do not add up"),
    "unknown key": (lambda f: change(f, licence="MIT"), FormatError, "splits.train.licence"),
    "keypoints": (lambda f: change(f, skeleton={"name": "x", "keypoints": ["tail"]}), FormatError, "tail_x"),
    "skeleton": (lambda f: change(f, skeleton={"name": "x", "keypoints": ["a", "a"]}), DataError, "names repeat"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_named(made: tuple[Annotations, Path], kind: str) -> None:
    damage, error, message = BROKEN[kind]
    damage(made[1])
    with pytest.raises(error, match=message) as caught:
        packed.read(str(made[1]))
    assert "\n" not in str(caught.value)


def test_another_table_under_the_same_name_is_refused(made: tuple[Annotations, Path], tmp_path: Path) -> None:
    """As when two packings were copied over each other."""
    other = tmp_path / "other"
    other.mkdir()
    formats.write(miniature.instances(other, seed=1), f"coco:{other / 'labels.json'}")
    pack(f"coco:{other / 'labels.json'}", tmp_path / "mixed")
    (tmp_path / "mixed/instances/train.parquet").rename(made[1] / "instances/train.parquet")
    with pytest.raises(FormatError, match="is cut or damaged"):
        packed.read(str(made[1]))


def test_splits_of_different_keypoints_are_not_joined(made: tuple[Annotations, Path]) -> None:
    _, folder = made
    index = json.loads((folder / "index.json").read_text())
    skeleton = from_names("dog", ("nose", "left_ear", "tail"))
    other = {**index["splits"]["train"], "skeleton": {"name": "dog", "keypoints": skeleton.keypoints}}
    (folder / "index.json").write_text(json.dumps({**index, "splits": {**index["splits"], "test": other}}))
    with pytest.raises(DataError, match=r"train, test .*have different keypoints; choose one"):
        packed.read(str(folder))
    assert len(packed.read(str(folder), split="train")) == 10


def test_packing_what_is_packed_changes_nothing(made: tuple[Annotations, Path], tmp_path: Path) -> None:
    expected, folder = made
    pack(f"packed:{folder}", tmp_path / "again")
    found = packed.read(str(tmp_path / "again"))
    equal(found, expected)
    assert [found.images.encoded(i) for i in range(5)] == [packed.read(str(folder)).images.encoded(i) for i in range(5)]
    assert replace(found, images=expected.images).skeleton == expected.skeleton
