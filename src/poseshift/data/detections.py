"""Boxes without keypoints: which instances to look at in a set of image files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.errors import DataError, FormatError
from poseshift.types import Annotations, Skeleton

NO_KEYPOINTS = Skeleton(name="none", keypoints=())


def whole_images(files: Sequence[Path]) -> Annotations:
    """One instance a file, without a box; its group is the number of the file, from 1, as COCO's image id."""
    rows = [(number, str(number + 1), "1", (np.nan,) * 4) for number in range(len(files))]
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
    number_of = {image["id"]: _match(str(image["file_name"]), files, by_name) for image in document["images"]}
    rows = []
    for annotation in document["annotations"]:
        at = number_of.get(annotation.get("image_id"))
        if at is None:
            continue
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not np.isfinite(np.asarray(box, np.float64)).all():
            raise FormatError(
                f"{boxes}: annotation {annotation.get('id')}: bbox {box}, expected four numbers x, y, width, height"
            )
        x, y, width, height = map(float, box)
        corners = (x, y, x + width, y + height)
        rows.append((at, str(annotation["image_id"]), str(annotation.get("category_id", 1)), corners))
    if not rows:
        raise DataError(
            f"{boxes}: no box belongs to any of the {len(files)} images, such as {files[0]}; check file_name"
        )
    return _annotations(files, rows, note=f"boxes from {boxes.name}")


def _load(boxes: Path) -> dict[str, Any]:
    try:
        document = json.loads(boxes.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{boxes}: cannot be read ({error.strerror}); give a COCO json with `images` and `annotations`"
        ) from error
    except ValueError as error:
        raise FormatError(f"{boxes}: not JSON ({error}); give a COCO json with `images` and `annotations`") from error
    if not isinstance(document, dict) or not {"images", "annotations"} <= set(document):
        raise FormatError(f"{boxes}: no `images` and `annotations` lists; give a COCO json")
    return document


def _match(name: str, files: Sequence[Path], by_name: dict[str, list[int]]) -> int | None:
    """The file whose path ends in ``name``; None where there is none or several."""
    candidates = by_name.get(Path(name).name, [])
    exact = [number for number in candidates if files[number].as_posix().endswith("/" + name.lstrip("./"))]
    chosen = exact or candidates
    return chosen[0] if len(chosen) == 1 else None


def _annotations(
    files: Sequence[Path], rows: Sequence[tuple[int, str, str, tuple[float, ...]]], *, note: str
) -> Annotations:
    count = len(rows)
    return Annotations(
        name="inputs",
        images=ImageFiles(root=Path(), paths=tuple(str(file) for file in files), allow_outside=True),
        image_index=np.array([row[0] for row in rows], np.int64),
        skeleton=NO_KEYPOINTS,
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.array([row[3] for row in rows], np.float32).reshape(count, 4),
        groups=np.array([row[1] for row in rows], np.str_),
        categories=np.array([row[2] for row in rows], np.str_),
        note=note,
    )
