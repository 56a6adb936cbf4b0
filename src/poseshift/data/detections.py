"""Boxes without keypoints: which instances to look at in images and frames of videos.

A COCO json has ``images`` and ``annotations`` with a ``bbox``; a csv has the columns ``file``, ``x``, ``y``, ``width``,
``height`` and, where they are of use, ``frame`` and ``id``. ``x`` and ``y`` are the box's top left corner in pixels. A
frame of a video is named by ``frame`` (in COCO ``frame_id`` of the image), counted from 0, or by ``film.mp4#000012``.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from poseshift.data.texts import read_json, read_text
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import FloatArray, IntArray

log = logging.getLogger(__name__)


class Named(Protocol):
    """Images that can be found by their names."""

    def __len__(self) -> int:
        """Number of images."""

    def key(self, index: int) -> str:
        """The name of an image, for messages."""

    def find(self, name: str, frame: int | None) -> int | None:
        """The image that a file's name and a frame's number mean; None for a stranger, or one of several."""


_COLUMNS = ("x", "y", "width", "height")


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Which instances there are, ``N`` of them.

    Attributes:
        image_index: ``N``: the image that each lies in.
        boxes: ``N×4`` corners, in the convention of :mod:`poseshift.types`.
        groups: ``N`` ids of images, as the file has them.
        categories: ``N`` ids of categories.
        individuals: ``N`` names of individuals, each at most once in an image; empty where the file has none.
    """

    image_index: IntArray
    boxes: FloatArray
    groups: npt.NDArray[np.str_]
    categories: npt.NDArray[np.str_]
    individuals: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.image_index)


class _Row(NamedTuple):
    image: int
    corners: tuple[float, ...]
    group: str
    category: str
    individual: str


def read_boxes(file: Path, images: Named) -> Detections:
    """The boxes of a json or csv.

    Args:
        file: Which, see the head of this module.
        images: Which these boxes may lie in.

    Raises:
        UsageError: Another ending.
        DataError: The file cannot be read, or no box belongs to any image.
        FormatError: It is not such a file, a box is not four finite numbers, or an individual is twice in an image.
    """
    if file.suffix.lower() not in _READERS:
        raise UsageError(f"--boxes {file}: expected a COCO json or a csv; rename or convert it")
    rows, strangers = _READERS[file.suffix.lower()](file, images)
    if not rows:
        raise DataError(
            f"{file}: no box belongs to any of the {len(images)} images, such as {images.key(0)}; check its names of "
            "files and numbers of frames"
        )
    bare = len(images) - len({row.image for row in rows})
    if strangers or bare:
        log.warning("%s: %d boxes belong to none of the images, %d images have no box", file, strangers, bare)
    _refuse_twice(file, rows)
    return Detections(
        image_index=np.array([row.image for row in rows], np.int64),
        boxes=np.array([row.corners for row in rows], np.float32),
        groups=np.array([row.group for row in rows], np.str_),
        categories=np.array([row.category for row in rows], np.str_),
        individuals=np.array([row.individual for row in rows], np.str_),
    )


def _refuse_twice(file: Path, rows: Sequence[_Row]) -> None:
    seen: set[tuple[int, str]] = set()
    for row in rows:
        if row.individual and (row.image, row.individual) in seen:
            raise FormatError(
                f"{file}: id {row.individual!r} is twice in image {row.group}; give each instance an id of its own"
            )
        seen.add((row.image, row.individual))


def _coco(file: Path, images: Named) -> tuple[list[_Row], int]:
    """The rows of a COCO json, and the number of boxes in images that are not there."""
    document = _load(file)
    image_of = {
        _id(file, image.get("id")): images.find(str(image.get("file_name", "")), _frame(file, image))
        for image in document["images"]
    }
    rows, strangers = [], 0
    for annotation in document["annotations"]:
        image = image_of.get(_id(file, annotation.get("image_id")))
        if image is None:
            strangers += 1
            continue
        corners = _corners(annotation.get("bbox"), f"{file}: annotation {annotation.get('id')}")
        group, track = str(annotation["image_id"]), annotation.get("track_id")
        category = str(annotation.get("category_id", 1))
        rows.append(_Row(image, corners, group, category, "" if track is None else str(track)))
    return rows, strangers


def _id(file: Path, value: Any) -> int | str | None:
    if value is not None and not isinstance(value, int | str):
        raise FormatError(f"{file}: image id {value!r}, expected a number or a text; correct the file")
    return value


def _frame(file: Path, image: dict[str, Any]) -> int | None:
    number = image.get("frame_id")
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
        raise FormatError(
            f"{file}: image {image.get('id')} has frame_id {number!r}, expected a number from 0 on; correct the file"
        )
    return number


def _load(boxes: Path) -> dict[str, Any]:
    document = read_json(boxes, remedy="give a COCO json with `images` and `annotations`")
    for key in ("images", "annotations"):
        rows = document.get(key) if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FormatError(f"{boxes}: no list {key!r} of objects; give a COCO json with `images` and `annotations`")
    found: dict[str, Any] = document
    return found


def _csv(file: Path, images: Named) -> tuple[list[_Row], int]:
    """The rows of a csv, and the number of boxes in images that are not there."""
    table = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    rows, strangers = [], 0
    try:
        if missing := [name for name in ("file", *_COLUMNS) if name not in (table.fieldnames or ())]:
            raise FormatError(
                f"{file}: its first line has no column {', '.join(missing)}; expected file, x, y, width, height and, "
                "where they are of use, frame and id"
            )
        for line in table:
            place = f"{file}, line {table.line_num}"
            corners = _corners([_number(line[name]) for name in _COLUMNS], place)
            image = images.find(line["file"] or "", _whole(line.get("frame"), place))
            if image is None:
                strangers += 1
            else:
                rows.append(_Row(image, corners, str(image + 1), "1", line.get("id") or ""))
    except csv.Error as error:
        raise FormatError(f"{file}, line {table.line_num}: {error}; correct it or write the file again") from error
    return rows, strangers


def _number(text: str | None) -> float | str | None:
    try:
        return float(text or "")
    except ValueError:
        return text


def _whole(text: str | None, place: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise FormatError(f"{place}: frame {text!r}, expected a number from 0 on, or nothing; correct the file")
    return int(text)


def _corners(box: Any, place: str) -> tuple[float, ...]:
    """``(x0, y0, x1, y1)`` of COCO's x, y, width, height."""
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)
    if not numbers or not all(map(math.isfinite, box)) or box[2] <= 0 or box[3] <= 0:
        raise FormatError(
            f"{place}: bbox {box}, expected four numbers x, y, width, height, the last two above 0; correct the file"
        )
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


_READERS: dict[str, Callable[[Path, Named], tuple[list[_Row], int]]] = {".json": _coco, ".csv": _csv}
