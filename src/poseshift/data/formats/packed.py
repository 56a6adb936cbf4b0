"""Packed data, as ``poseshift pack`` writes it: Parquet shards of encoded images and a table of instances.

``PATH`` is the folder, or a URL that fsspec understands: ``packed:data/train``, ``packed:s3://bucket/train``,
``packed:https://host/train``. A URL may be kept on the local disk by fsspec's own means
(``packed:simplecache::s3://bucket/train``). The layout stands in :mod:`poseshift.data.packed`.

Annotations are those that were packed, bit by bit: coordinates, visibility, boxes, groups, categories, order, name and
note. Images without an instance were not packed, so ``image_index`` counts those that are left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from poseshift.data import parquet
from poseshift.data.images import leaves_root
from poseshift.data.packed import CORNERS, INDEX, SCHEMA, TEXTS, Index, Keys, PackedImages, Split, keypoint_columns
from poseshift.data.parquet import Root
from poseshift.data.published import ENORMOUS
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations, FloatArray, IntArray

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS: tuple[str, ...] = ()

_IMAGE = ("path", "width", "height")
_BLOCK = 4096
"""Rows whose columns are gathered at a time, so that they stay in the processor's cache."""


def read_index(root: Root) -> Index:
    """The index of packed data.

    Raises:
        UsageError: What a URL needs is not installed.
        DataError: There is none, or it cannot be read.
        FormatError: It is none, or of a newer version.
    """
    place = root.place(INDEX)
    try:
        index = Index.model_validate_json(root.read(INDEX))
    except ValidationError as error:
        first = error.errors()[0]
        where, found = ".".join(map(str, first["loc"])), f"{first['msg']}, found {str(first['input'])[:80]!r}"
        if first["type"] == "json_invalid":
            raise FormatError(f"{place!r} is no JSON ({first['msg']}); fetch it again or pack the data again") from None
        if where == "schema_version" and isinstance(first["input"], int):
            raise FormatError(
                f"{place!r} has schema {first['input']!r}, this version reads {SCHEMA}; install a newer poseshift"
            ) from None
        raise FormatError(
            f"{place!r} is no index of packed data ({where or 'it'}: {' '.join(found.split())}); pack the data again"
        ) from None
    files = [note.file for split in index.splits.values() for note in (*split.shards, split.table)]
    if outside := next((file for file in files if leaves_root(file) or not file), None):
        raise FormatError(f"{place!r} names a file {outside!r} outside of its folder; pack the data again")
    return index


def _chosen(index: Index, root: Root, split: str | None) -> list[Split]:
    """The splits to read: one, or all."""
    if split is not None:
        if split not in index.splits:
            known = ", ".join(index.splits)
            raise UsageError(f"packed: {root.path!r} has no split {split!r}; expected one of {known}")
        return [index.splits[split]]
    found = list(index.splits.values())
    for other in found[1:]:
        if (other.skeleton, other.reference_shift) != (found[0].skeleton, found[0].reference_shift):
            raise DataError(
                f"packed: the splits {', '.join(index.splits)} of {root.path!r} have different keypoints; choose one"
            )
    return found


class _Columns:
    """Arrays for all instances, filled a row group at a time: what is read is held once."""

    def __init__(self, splits: list[Split], labelled: bool) -> None:
        rows, points = sum(split.instances for split in splits), len(splits[0].skeleton)
        names = keypoint_columns(splits[0].skeleton)
        self.named = names if labelled else []
        self.done = self.images = 0
        self.image_index: IntArray = np.empty(rows, np.int64)
        self.ids: IntArray = np.empty(rows, np.int64)
        self.boxes: FloatArray = np.empty((rows, 4), np.float32)
        make = np.empty if labelled else np.zeros
        self.keypoints: FloatArray = make((rows, points, 2), np.float32)
        self.visible: npt.NDArray[np.uint8] = make((rows, points), np.uint8)
        self.texts: dict[str, list[npt.NDArray[np.str_]]] = {name: [] for name in TEXTS}
        self.sizes: list[npt.NDArray[np.int32]] = []
        self.paths: list[tuple[bytes, IntArray]] = []

    @property
    def wanted(self) -> list[str]:
        """Names of the columns to read."""
        return ["image", "id", *_IMAGE, *CORNERS, *TEXTS, *(name for names in self.named for name in names)]

    def add(self, table: pa.Table, first_image: int, first_id: int) -> None:
        """A row group, whose numbers of images and instances count from the given ones."""
        rows = slice(self.done, self.done + len(table))
        self.done = rows.stop
        self.image_index[rows] = _numbers(_column(table, "image"))
        self.image_index[rows] += first_image
        self.ids[rows] = _numbers(_column(table, "id"))
        self.ids[rows] += first_id
        for column, name in enumerate(CORNERS):
            self.boxes[rows, column] = _numbers(_column(table, name))
        if (np.abs(self.boxes[rows]) >= ENORMOUS).any():
            raise ValueError("a box has a corner that is infinite or enormous")
        self._add_labels(table, rows)
        for name, parts in self.texts.items():
            column = _column(table, name)
            parts.append(np.array(column.dictionary.to_pylist(), str)[_numbers(column.indices)])
        self._add_images(table, self.image_index[rows])

    def _add_labels(self, table: pa.Table, rows: slice) -> None:
        columns = [[_numbers(_column(table, name)) for name in names] for names in self.named]
        for start in range(0, len(table) if columns else 0, _BLOCK):
            part = slice(start, min(len(table), start + _BLOCK))
            block = slice(rows.start + part.start, rows.start + part.stop)
            for point, (x, y, visible) in enumerate(columns):
                self.keypoints[block, point, 0] = x[part]
                self.keypoints[block, point, 1] = y[part]
                self.visible[block, point] = visible[part]
            self._check_points(block)
        if self.visible[rows].max(initial=0) > VISIBLE:
            raise ValueError(f"it has a visibility of {self.visible[rows].max()}")

    def _check_points(self, block: slice) -> None:
        points = self.keypoints[block]
        if points.max(initial=0) < ENORMOUS and points.min(initial=0) > -ENORMOUS:  # both are false where one is NaN
            return
        wrong = ~(np.abs(points) < ENORMOUS).all(axis=2) & (self.visible[block] != NOT_LABELLED)
        if wrong.any():
            row, point = np.argwhere(wrong)[0].tolist()
            raise ValueError(
                f"keypoint {point} of instance {self.ids[block][row]} has x, y {points[row, point].tolist()}"
            )

    def _add_images(self, table: pa.Table, index: IntArray) -> None:
        """Names and sizes of the images whose first instance is in this row group."""
        starts = np.flatnonzero(np.diff(index, prepend=self.images - 1))
        if len(starts) and not np.array_equal(index[starts], np.arange(self.images, self.images + len(starts))):
            raise ValueError("its images are not numbered in order")
        if not len(starts):
            return
        self.images += len(starts)
        self.paths.append(_texts(_column(table, "path"), starts))
        self.sizes.append(np.stack([_numbers(_column(table, name))[starts] for name in ("width", "height")], axis=1))

    def sort(self) -> None:
        """Instances in the order of the data that was packed."""
        rows = len(self.ids)
        if np.array_equal(self.ids, np.arange(rows)):
            return
        order = np.argsort(self.ids, kind="stable")
        if not np.array_equal(self.ids[order], np.arange(rows)):
            raise ValueError("its instances are not numbered from 0 without a gap")
        for name in ("image_index", "boxes", "keypoints", "visible"):
            setattr(self, name, getattr(self, name)[order])
        self.texts = {name: [np.concatenate(parts)[order]] for name, parts in self.texts.items()}


def _column(table: pa.Table, name: str) -> pa.Array:
    """A column without nulls, in one piece."""
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"its column {name!r} holds nulls")
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """The values of a column where they lie; pyarrow's own way would load pandas, half a second for nothing."""
    content = column.buffers()[1]
    values = np.frombuffer(content, column.type.to_pandas_dtype()) if content is not None else np.empty(0)
    return values[column.offset : column.offset + len(column)]


def _texts(column: pa.Array, rows: IntArray) -> tuple[bytes, IntArray]:
    """The texts at ``rows``, one after the other, and where each ends."""
    _, offsets, content = column.buffers()
    borders = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    sizes = np.diff(borders)[rows]
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1]) + np.repeat(borders[rows] - (ends - sizes), sizes)
    text = np.frombuffer(content, np.uint8)[places].tobytes() if content is not None else b""
    return text, ends


def _keys(paths: list[tuple[bytes, IntArray]]) -> Keys:
    """The texts of all row groups."""
    before = np.cumsum([0, *(len(text) for text, _ in paths)])
    ends = [ends + start for (_, ends), start in zip(paths, before.tolist(), strict=False)]
    return Keys(text=b"".join(text for text, _ in paths), ends=np.concatenate(ends))


def _fill(columns: _Columns, root: Root, splits: list[Split]) -> None:
    """Reads the tables of all splits, a row group at a time. Raises :class:`FormatError` where they do not fit."""
    images = instances = 0
    for split in splits:
        metadata = parquet.footer(root, split.table)
        try:
            for group in range(len(split.table.rows)):
                table = parquet.read_group(root, split.table, metadata, group, columns.wanted, TEXTS)
                columns.add(table, images, instances)
            images, instances = images + split.images, instances + split.instances
            if columns.images != images:
                raise ValueError(f"it has {columns.images} images, the index {images}")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            found = " ".join(str(error).split())
            raise FormatError(
                f"{root.place(split.table.file)!r} is no table of instances ({found}); pack the data again"
            ) from error
    try:
        columns.sort()
    except ValueError as error:
        raise FormatError(f"{root.path!r} is not whole ({error}); pack the data again") from error


def read(path: str, *, split: str | None = None, labelled: bool = True) -> Annotations:
    """Read packed data; no shard is opened before an image is read.

    Args:
        path: A folder or a URL, see above.
        split: One of those that were packed; None for all.
        labelled: Without it the columns of coordinates and visibility are not read, and no keypoint is labelled.

    Raises:
        UsageError: An unknown split, or pyarrow or what a URL needs is not installed.
        DataError: A file is missing or cannot be read.
        FormatError: A file is not what was packed.
    """
    parquet.pyarrow_module()
    root = Root(path)
    splits = _chosen(read_index(root), root, split)
    columns = _Columns(splits, labelled)
    _fill(columns, root, splits)
    parquet.release()
    images = PackedImages(
        root=root,
        shards=tuple(shard for one in splits for shard in one.shards),
        keys=_keys(columns.paths),
        sizes=np.concatenate(columns.sizes),
    )
    return Annotations(
        name=splits[0].name,
        images=images,
        image_index=columns.image_index,
        skeleton=splits[0].skeleton,
        keypoints=columns.keypoints,
        visible=columns.visible,
        boxes=columns.boxes,
        groups=np.concatenate(columns.texts["group"]),
        categories=np.concatenate(columns.texts["category"]),
        note=" ".join(dict.fromkeys(one.note for one in splits if one.note)),
        reference_shift=splits[0].reference_shift,
    )
