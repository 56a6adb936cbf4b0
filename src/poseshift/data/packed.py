"""Packed data: Parquet shards of encoded images, a table of instances, and a small index.

::

    OUT/index.json                            skeleton, name, note, and of each file its row groups and sha256
    OUT/data/train-00000-of-00004.parquet     one row an image
    OUT/instances/train.parquet               one row an instance

**A shard has one row an image**, since that is what a training loop iterates over, and what Hugging Face ``datasets``
and DuckDB's ``FROM 'data/*.parquet'`` expect; each shard is complete without the others and without the table:

* ``image``: ``{bytes, path}``, the struct that the Image feature of ``datasets`` decodes: a whole JPEG, PNG, … file, as
  it was; ``bytes`` is null where an image could not be read when it was packed;
* ``width``, ``height``: int32, upright as EXIF says; 0 where the header could not be read;
* ``instances``: a list of ``{id, keypoints, box, group, category}``, where ``keypoints`` are ``x, y, v`` of one
  keypoint after the other as COCO has them, ``box`` is ``x0, y0, x1, y1``, NaN where there is none, both float32 in the
  convention of :mod:`poseshift.types`, and ``id`` is the instance's number in the data that was packed.

**The table has the same labels, one row an instance** and a column for each number (``nose_x``, ``nose_y``,
``nose_v``), beside ``image`` (the number of the row over all shards), ``path``, ``width`` and ``height``. It is what
poseshift opens: one small file wherever the shards lie, flat columns that are copied rather than unnested, and
keypoints that are not read at all where labels are not wanted. A shard is opened when one of its images is read, and
then only a row group of its images.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseshift.data import parquet
from poseshift.data.archives import decode_reduced
from poseshift.data.decoding import Decoded
from poseshift.data.parquet import FileNote, Root
from poseshift.data.windows import WINDOW
from poseshift.errors import DataError, FormatError
from poseshift.types import ByteArray, IntArray, Skeleton

if TYPE_CHECKING:
    import pyarrow.parquet as pq

INDEX = "index.json"
SCHEMA = 1
CORNERS = ("x0", "y0", "x1", "y1")
TEXTS = ("group", "category")
KEPT = 2 * WINDOW
"""Row groups in memory: those of a window, and those that a lane has just done with."""
_FOOTERS = 64
"""Shards whose metadata is kept, some ten kilobytes each."""


def keypoint_columns(skeleton: Skeleton) -> list[tuple[str, str, str]]:
    """Names of the columns of each keypoint: x, y, visibility."""
    return [(f"{name}_x", f"{name}_y", f"{name}_v") for name in skeleton.keypoints]


class Split(BaseModel):
    """What the index says of one split.

    Attributes:
        name: Of the annotations, as are ``note``, ``reference_shift`` and ``skeleton``.
        boxes: What ``boxes: auto`` means for it: ``given`` where every instance has a box, else ``whole``.
        images: Number of them, as is ``instances``.
        shards: Files of images, in order.
        table: The file of instances.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    note: str
    reference_shift: float
    skeleton: Skeleton
    boxes: Literal["given", "whole"]
    images: int = Field(gt=0)
    instances: int = Field(gt=0)
    shards: tuple[FileNote, ...]
    table: FileNote

    @model_validator(mode="after")
    def _adds_up(self) -> Split:
        counts = [row for shard in self.shards for row in shard.rows]
        if min(*counts, *self.table.rows, 1) < 1 or (sum(counts), sum(self.table.rows)) != (
            self.images,
            self.instances,
        ):
            raise ValueError("the row groups do not add up to the images and instances")
        return self


class Index(BaseModel):
    """The content of ``index.json``.

    Attributes:
        schema_version: Of the layout.
        made_by: Version of poseshift.
        made_from: The data that was packed, as it was named.
        splits: By name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    made_by: str
    made_from: str
    splits: dict[str, Split] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Keys:
    """Many short texts, at the cost of their bytes.

    Attributes:
        text: All of them, UTF-8.
        ends: Where each ends.
    """

    text: bytes
    ends: IntArray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.text[start : int(self.ends[index])].decode()


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedImages:
    """Images in shards; reading one fetches its row group, of which the last few are kept.

    Attributes:
        root: Where the shards lie.
        shards: In the order of the images.
        keys: Name of each image.
        sizes: ``M×2`` int32, width and height; 0 where unknown.
    """

    root: Root
    shards: tuple[FileNote, ...]
    keys: Keys
    sizes: npt.NDArray[np.int32]
    _groups: OrderedDict[int, Any] = field(default_factory=OrderedDict, repr=False)
    _footers: OrderedDict[int, pq.FileMetaData] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("root", "shards", "keys", "sizes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _groups=OrderedDict(), _footers=OrderedDict())

    @cached_property
    def _ends(self) -> IntArray:
        """The image after the last of each row group, over all shards."""
        return np.cumsum([rows for shard in self.shards for rows in shard.rows], dtype=np.int64)

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Shard and row group within it, of each row group over all shards."""
        return [(number, group) for number, shard in enumerate(self.shards) for group in range(len(shard.rows))]

    def units(self, images: IntArray) -> IntArray:
        """``N`` numbers of the row groups of ``N`` images."""
        return np.searchsorted(self._ends, images, side="right").astype(np.int64)

    def key(self, index: int) -> str:
        """The name that image ``index`` had in the data that was packed."""
        return self.keys[index]

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)`` of image ``index``. Raises :class:`DataError` where it was unreadable when packed."""
        width, height = self.sizes[index].tolist()
        if not width:
            raise DataError(f"image {self.key(index)!r} was unreadable when it was packed; mend it and pack again")
        return width, height

    def encoded(self, index: int) -> bytes:
        """The file of image ``index``.

        Raises:
            DataError: It could not be read when it was packed, or its shard cannot be read now.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        unit = int(np.searchsorted(self._ends, index, side="right"))
        if unit not in self._groups:
            self._groups[unit] = self._fetch(*self._places[unit])
            while len(self._groups) > KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(unit)
        pictures = self._groups[unit]
        content = pictures[index - (int(self._ends[unit]) - len(pictures))].as_py()
        if content is None:
            raise DataError(f"image {self.key(index)!r} was unreadable when it was packed; mend it and pack again")
        return bytes(content)

    def read(self, index: int) -> ByteArray:
        """Image ``index``, ``H×W×3`` RGB uint8.

        Raises:
            DataError: As :meth:`encoded`, or it does not decode.
        """
        return self.reduced(index, 1).pixels

    def reduced(self, index: int, most: int) -> Decoded:
        """Image ``index``, smaller as of :func:`poseshift.data.decoding.decoded`. Raises as :meth:`read`."""
        return decode_reduced(self.encoded(index), self.key(index), most)

    def _fetch(self, number: int, group: int) -> Any:
        """The encoded images of a row group, a pyarrow array of bytes."""
        shard = self.shards[number]
        if number not in self._footers:
            self._footers[number] = parquet.footer(self.root, shard)
            while len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        table = parquet.read_group(self.root, shard, self._footers[number], group, ["image.bytes"])
        column = table.column("image").combine_chunks().field("bytes")
        if not parquet.pyarrow_module().types.is_binary(column.type):
            raise FormatError(f"{self.root.place(shard.file)!r} has no column image.bytes; pack the data again")
        return column
