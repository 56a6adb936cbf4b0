"""Writes the files of packed data; what they hold stands in :mod:`poseshift.data.packed`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseshift.data import parquet
from poseshift.data.packed import CORNERS, TEXTS, keypoint_columns
from poseshift.data.parquet import FileNote
from poseshift.errors import DataError
from poseshift.types import Annotations, FloatArray, IntArray, Skeleton

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_BYTES = 8 * 2**20
"""Encoded images of a row group: what one reading fetches, and what is kept in memory a few times over."""
GROUP_IMAGES = 8192
TABLE_ROWS = 16_384
"""Instances of a row group of the table: some megabytes, which is what opening needs beside the annotations."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An encoded image.

    Attributes:
        content: None where it could not be read.
        size: Width and height, upright; 0 where the header could not be read.
    """

    content: bytes | None
    size: tuple[int, int]


@dataclass(kw_only=True)
class Instances:
    """The instances of some annotations in the order of their images; images without one are left out.

    Attributes:
        annotations: In that order.
        ids: ``N``: their rows in the annotations that are packed.
        images: ``M``: which images have one.
        starts: ``M+1``: the first instance of each image, and ``N``.
        points: ``N×K×2``, to be changed with the image.
        boxes: ``N×4``, to be changed with the image.
    """

    annotations: Annotations
    ids: IntArray
    images: IntArray
    starts: IntArray
    points: FloatArray
    boxes: FloatArray

    @classmethod
    def of(cls, annotations: Annotations) -> Instances:
        """Those of ``annotations``. Raises :class:`DataError` where a name is no text that a file can hold."""
        ids = np.argsort(annotations.image_index, kind="stable")
        ordered = annotations.select(ids)
        images, starts = np.unique(ordered.image_index, return_index=True)
        _refuse_no_text("a group", np.unique(ordered.groups).tolist())
        _refuse_no_text("a category", np.unique(ordered.categories).tolist())
        _refuse_no_text("an image", (annotations.images.key(int(image)) for image in images))
        return cls(
            annotations=ordered,
            ids=ids,
            images=images,
            starts=np.append(starts, len(ids)),
            points=ordered.keypoints.copy(),
            boxes=ordered.boxes.copy(),
        )

    def key(self, place: int) -> str:
        """The name of the image at ``place`` of :attr:`images`."""
        return self.annotations.images.key(int(self.images[place]))


def _refuse_no_text(what: str, texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{what} is called {text!r}, which is no Unicode text; rename it") from error


class Shards:
    """The shards of a split, written one after the other as images come.

    Args:
        folder: Of the data.
        split: Its name.
        instances: What lies in the images.
        shard_bytes: Encoded images after which a shard ends.
        group_bytes: Encoded images after which a row group ends.
    """

    def __init__(self, folder: Path, split: str, instances: Instances, *, shard_bytes: int, group_bytes: int) -> None:
        self.folder, self.split, self.instances = folder, split, instances
        self.shard_bytes, self.group_bytes = shard_bytes, group_bytes
        self.schema = _shard_schema(instances.annotations.skeleton)
        self._writer: pq.ParquetWriter | None = None
        self._names: list[str] = []
        self._waiting: list[Picture] = []
        self._written = self._bytes = self._group = 0

    def add(self, picture: Picture) -> None:
        """The next image."""
        size = len(picture.content or b"")
        if self._waiting and (self._group + size > self.group_bytes or len(self._waiting) >= GROUP_IMAGES):
            self._flush()
        if self._writer is not None and self._bytes + self._group + size > self.shard_bytes:
            self._flush()
            self._end()
        self._waiting.append(picture)
        self._group += size

    def close(self) -> tuple[FileNote, ...]:
        """Ends the last shard; the names say how many there are."""
        self._flush()
        self._end()
        notes = []
        for number, name in enumerate(self._names):
            final = f"data/{self.split}-{number:05d}-of-{len(self._names):05d}.parquet"
            (self.folder / name).rename(self.folder / final)
            notes.append(parquet.note(self.folder, final))
        return tuple(notes)

    def abort(self) -> None:
        """Closes the open file, whose content nobody wants any more."""
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._names.append(f"data/{self.split}-{len(self._names):05d}.parquet")
            path = self.folder / self._names[-1]
            path.parent.mkdir(exist_ok=True)
            dictionaries = [f"instances.list.element.{name}" for name in TEXTS]
            self._writer = parquet.writer(path, self.schema, dictionaries=dictionaries)
        rows = range(self._written, self._written + len(self._waiting))
        self._writer.write_table(_shard_rows(self.schema, self.instances, rows, self._waiting))
        self._bytes, self._written = self._bytes + self._group, rows.stop
        self._waiting, self._group = [], 0

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._bytes = None, 0


def _shard_rows(schema: pa.Schema, instances: Instances, rows: range, pictures: list[Picture]) -> pa.Table:
    arrow = parquet.pyarrow_module()
    keys = [instances.key(place) for place in rows]
    images = [{"bytes": one.content, "path": key} for one, key in zip(pictures, keys, strict=True)]
    starts = instances.starts[rows.start : rows.stop + 1]
    inside = slice(int(starts[0]), int(starts[-1]))
    data, count = instances.annotations, inside.stop - inside.start
    triples = np.concatenate([instances.points[inside], data.visible[inside, :, None].astype(np.float32)], axis=2)
    columns = {
        "id": arrow.array(instances.ids[inside]),
        "keypoints": _lists(triples.reshape(count, -1)),
        "box": _lists(instances.boxes[inside]),
        "group": arrow.array(data.groups[inside].tolist(), arrow.string()),
        "category": arrow.array(data.categories[inside].tolist(), arrow.string()),
    }
    structs = arrow.StructArray.from_arrays(list(columns.values()), names=list(columns))
    lists = arrow.ListArray.from_arrays(arrow.array((starts - starts[0]).astype(np.int32)), structs)
    sizes = np.array([one.size for one in pictures], np.int32)
    return arrow.Table.from_arrays(
        [arrow.array(images, schema.field("image").type), arrow.array(sizes[:, 0]), arrow.array(sizes[:, 1]), lists],
        schema=schema,
    )


def _lists(rows: FloatArray) -> pa.Array:
    """``N×M`` numbers as ``N`` lists."""
    arrow = parquet.pyarrow_module()
    ends = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return arrow.ListArray.from_arrays(arrow.array(ends), arrow.array(np.ascontiguousarray(rows).reshape(-1)))


def _shard_schema(skeleton: Skeleton) -> pa.Schema:
    """Of a shard; what ``datasets`` makes of it, and the skeleton, stand in its metadata."""
    arrow = parquet.pyarrow_module()
    numbers = arrow.list_(arrow.float32())
    instance = {"id": arrow.int64(), "keypoints": numbers, "box": numbers}
    instance |= {name: arrow.string() for name in TEXTS}
    fields = {
        "image": arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}),
        "width": arrow.int32(),
        "height": arrow.int32(),
        "instances": arrow.list_(arrow.struct(instance)),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}}), "skeleton": json.dumps(asdict(skeleton))}
    return arrow.schema(fields, metadata=metadata)


def _value(kind: str) -> dict[str, str]:
    return {"dtype": kind, "_type": "Value"}


FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "width": _value("int32"),
    "height": _value("int32"),
    "instances": [
        {
            "id": _value("int64"),
            "keypoints": [_value("float32")],
            "box": [_value("float32")],
            **{name: _value("string") for name in TEXTS},
        }
    ],
}
"""The columns of a shard in the words of ``datasets``."""


def write_table(folder: Path, split: str, instances: Instances, sizes: list[tuple[int, int]]) -> FileNote:
    """The table of instances; ``sizes`` are those of the ``M`` images."""
    arrow = parquet.pyarrow_module()
    name, data = f"instances/{split}.parquet", instances.annotations
    (folder / name).parent.mkdir(exist_ok=True)
    place = np.repeat(np.arange(len(instances.images)), np.diff(instances.starts))
    size = np.array(sizes, np.int32)
    coordinates = [column for names in keypoint_columns(data.skeleton) for column in names]
    kinds = {"image": arrow.int64(), "id": arrow.int64(), "path": arrow.string()}
    kinds |= {"width": arrow.int32(), "height": arrow.int32()}
    kinds |= {name: arrow.float32() for name in CORNERS} | {name: arrow.string() for name in TEXTS}
    kinds |= {column: arrow.uint8() if column.endswith("_v") else arrow.float32() for column in coordinates}
    schema = arrow.schema([arrow.field(column, kind, nullable=False) for column, kind in kinds.items()])
    repeated = ["image", "path", "width", "height", *TEXTS, *coordinates[2::3]]
    with parquet.writer(folder / name, schema, dictionaries=repeated) as writer:
        for start in range(0, len(place), TABLE_ROWS):
            rows = slice(start, start + TABLE_ROWS)
            of_image = place[rows]
            paths = {image: instances.key(image) for image in np.unique(of_image).tolist()}
            columns: list[Any] = [of_image, instances.ids[rows], [paths[image] for image in of_image.tolist()]]
            columns += [size[of_image, 0], size[of_image, 1], *instances.boxes[rows].T]
            columns += [data.groups[rows].tolist(), data.categories[rows].tolist()]
            for point in range(len(data.skeleton)):
                columns += [*instances.points[rows, point].T, data.visible[rows, point]]
            arrays = [arrow.array(c, kind) for c, kind in zip(columns, kinds.values(), strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
    return parquet.note(folder, name)
