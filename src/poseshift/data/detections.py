"""Boxes without keypoints: which instances to look at in a set of image files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError
from poseshift.types import Annotations, Skeleton

log = logging.getLogger(__name__)

NO_KEYPOINTS = Skeleton(name="none", keypoints=())


def whole_images(files: Sequence[Path]) -> Annotations:
    """One instance a file, its box the whole image; its group is the number of the file, from 1, as COCO's image id.

    Files whose header does not read are logged and left out.

    Raises:
        DataError: None of the files is an image.
    """
    images, rows, reason = _images(files), [], ""
    for number in range(len(files)):
        try:
            width, height = images.size(number)
        except DataError as error:
            reason = str(error)
            log.warning("left out: %s", reason)
            continue
        rows.append((number, str(number + 1), "1", (-0.5, -0.5, width - 0.5, height - 0.5)))
    if not rows:
        raise DataError(f"none of the {len(files)} files is an image that can be read; the last: {reason}")
    return _annotations(files, rows, note="whole images")


def from_coco(boxes: Path, files: Sequence[Path]) -> Annotations:
    """The boxes of a COCO json for the given files, matched by path ending; group is image id, category category id.

    Raises:
        FormatError: The json has no images or annotations, or a box is not four finite numbers.
        DataError: No box belongs to any of the files.
    """
    document = _load(boxes)
    by_name: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        by_name.setdefault(file.name, []).append(number)
    number_of = {
        image.get("id"): _match(str(image.get("file_name", "")), files, by_name) for image in document["images"]
    }
    rows, strangers = [], 0
    for annotation in document["annotations"]:
        at = number_of.get(annotation.get("image_id"))
        if at is None:
            strangers += 1
            continue
        corners = _corners(annotation.get("bbox"), f"{boxes}: annotation {annotation.get('id')}")
        rows.append((at, str(annotation["image_id"]), str(annotation.get("category_id", 1)), corners))
    if not rows:
        raise DataError(
            f"{boxes}: no box belongs to any of the {len(files)} images, such as {files[0]}; check file_name"
        )
    bare = len(files) - len({row[0] for row in rows})
    if strangers or bare:
        log.warning("%s: %d boxes belong to none of the images, %d images have no box", boxes, strangers, bare)
    return _annotations(files, rows, note=f"boxes from {boxes.name}")


def _corners(box: Any, place: str) -> tuple[float, ...]:
    """``(x0, y0, x1, y1)`` of COCO's x, y, width, height."""
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)
    if not numbers or not np.isfinite(box).all() or box[2] <= 0 or box[3] <= 0:
        raise FormatError(
            f"{place}: bbox {box}, expected four numbers x, y, width, height, the last two above 0; correct the file"
        )
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


def _load(boxes: Path) -> dict[str, Any]:
    document = read_json(boxes, remedy="give a COCO json with `images` and `annotations`")
    for key in ("images", "annotations"):
        rows = document.get(key) if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FormatError(f"{boxes}: no list {key!r} of objects; give a COCO json with `images` and `annotations`")
    found: dict[str, Any] = document
    return found


def _match(name: str, files: Sequence[Path], by_name: dict[str, list[int]]) -> int | None:
    """The file whose path ends in ``name``; None where there is none or several."""
    candidates = by_name.get(Path(name.replace("\\", "/")).name, [])
    tail = "/" + name.replace("\\", "/").removeprefix("./").lstrip("/")
    exact = [number for number in candidates if f"/{files[number].as_posix()}".endswith(tail)]
    chosen = exact or candidates
    return chosen[0] if len(chosen) == 1 else None


def _images(files: Sequence[Path]) -> ImageFiles:
    return ImageFiles(root=Path(), paths=tuple(str(file) for file in files), allow_outside=True)


def _annotations(
    files: Sequence[Path], rows: Sequence[tuple[int, str, str, tuple[float, ...]]], *, note: str
) -> Annotations:
    count = len(rows)
    return Annotations(
        name="inputs",
        images=_images(files),
        image_index=np.array([row[0] for row in rows], np.int64),
        skeleton=NO_KEYPOINTS,
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.array([row[3] for row in rows], np.float32).reshape(count, 4),
        groups=np.array([row[1] for row in rows], np.str_),
        categories=np.array([row[2] for row in rows], np.str_),
        note=note,
    )
