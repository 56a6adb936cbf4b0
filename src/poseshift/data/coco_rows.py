"""What a COCO keypoint file says of images and annotations, in columns, and what makes it none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, repeat
from operator import itemgetter
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.json_lists import read_lists
from poseshift.data.published import ENORMOUS
from poseshift.errors import DataError, FormatError
from poseshift.types import NOT_LABELLED, FloatArray, IntArray

_LISTS = ("images", "annotations", "categories")
_FIELDS = ("id", "image_id", "category_id", "iscrowd", "keypoints", "bbox")
_REMEDY = "export it again"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Annotations in columns of what the file has, None where it has nothing.

    Attributes:
        file: For messages.
        ids: ``N``.
        image_ids: ``N``.
        category_ids: ``N``.
        crowds: ``N``.
        keypoints: ``N×M`` numbers where all have ``M`` of them, else what :func:`_packed` makes of each.
        boxes: ``N``, likewise.
        groups: ``N``, as text; the image's id where the annotation names none.
    """

    file: Path
    ids: list[Any]
    image_ids: list[Any]
    category_ids: list[Any]
    crowds: list[Any]
    keypoints: list[Any] | npt.NDArray[np.float64]
    boxes: list[Any]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, wanted: list[bool]) -> Rows:
        """The rows where ``wanted`` (``N``) is true."""
        if all(wanted):
            return self
        lists = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        kept: dict[str, Any] = {name: list(compress(value, wanted)) for name, value in lists.items()}
        if isinstance(self.keypoints, np.ndarray):
            kept["keypoints"] = self.keypoints[np.array(wanted)]
        return replace(self, **kept)

    def refuse(self, bad: npt.ArrayLike, what: str) -> None:
        """Raise :class:`FormatError` where an annotation is ``bad`` (``N``), naming the first one."""
        if numbers := np.flatnonzero(bad).tolist():
            found = f"annotation {self.ids[numbers[0]]!r} {what} ({len(numbers)} annotations in all)"
            raise FormatError(f"{str(self.file)!r}: {found}")


def _no_list(file: Path, key: str) -> FormatError:
    expected = "COCO keypoints: images, annotations, categories"
    return FormatError(f"{str(file)!r} has no list {key!r} of objects; expected {expected}; {_REMEDY}")


@lru_cache(maxsize=64)
def _doubles(count: int) -> Struct:
    return Struct(f"{count}d")


def _packed(values: Any) -> Any:
    """A plain list of numbers as the bytes of their doubles, a third of its memory; all else as it is."""
    if type(values) is not list:
        return values
    try:
        return _doubles(len(values)).pack(*values)
    except (StructError, OverflowError):
        return values


def _unpacked(values: Any) -> Any:
    return np.frombuffer(values).tolist() if type(values) is bytes else values


def _table(values: list[Any]) -> npt.NDArray[np.float64] | None:
    """``N×M`` numbers where all have ``M`` of them, else None."""
    if set(map(type, values)) != {bytes} or len(set(map(len, values))) != 1:
        return None
    return np.frombuffer(b"".join(values)).reshape(len(values), len(values[0]) // 8)


def _of_image(file: Path) -> Callable[[Any], tuple[Any, Any]]:
    def cut(row: Any) -> tuple[Any, Any]:
        if not isinstance(row, dict):
            raise _no_list(file, "images")
        return row.get("id"), row.get("file_name")

    return cut


def _of_annotation(file: Path, labelled: bool) -> Callable[[Any], tuple[Any, ...]]:
    def cut(row: Any) -> tuple[Any, ...]:
        if not isinstance(row, dict):
            raise _no_list(file, "annotations")
        image, get = row.get("image_id"), row.get
        points = _packed(get("keypoints", [])) if labelled else None
        group = str(get("group", image))
        return get("id"), image, get("category_id"), get("iscrowd"), points, _packed(get("bbox")), group

    return cut


def load(file: Path, *, labelled: bool = True) -> tuple[list[tuple[Any, Any]], Rows, list[dict[str, Any]]]:
    """Id and file name of each image, the annotations, and the categories as they are.

    Args:
        file: Which.
        labelled: Without it no keypoint is looked at.

    Raises:
        DataError: The file cannot be read.
        FormatError: It is no JSON, or has not the three lists of objects.
    """
    cuts = {"images": _of_image(file), "annotations": _of_annotation(file, labelled)}
    content = read_lists(file, cuts, remedy=_REMEDY)
    for key in _LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise _no_list(file, key)
    if not all(isinstance(category, dict) for category in content["categories"]):
        raise _no_list(file, "categories")
    rows = content.pop("annotations")
    columns = [list(map(itemgetter(place), rows)) for place in range(len(_FIELDS) + 1)]
    names = ("ids", "image_ids", "category_ids", "crowds", "keypoints", "boxes", "groups")
    named: dict[str, Any] = dict(zip(names, columns, strict=True))
    if (table := _table(named["keypoints"])) is not None:
        named["keypoints"] = table
    return content["images"], Rows(file=file, **named), content["categories"]


def _labelled(values: list[Any] | npt.NDArray[np.float64]) -> list[bool]:
    """Whether each has a keypoint with v > 0; keypoints of a wrong kind count, to be named later."""
    if isinstance(values, np.ndarray):
        found: list[bool] = (values[:, 2::3] != 0).any(axis=1).tolist()
        return found
    return [_has_label(_unpacked(one)) for one in values]


def _has_label(values: Any) -> bool:
    if not isinstance(values, list) or not values:
        return values not in (None, [])
    return isinstance(values[0], list) or any(values[2::3])


def kept(rows: Rows, labelled: bool) -> tuple[Rows, str]:
    """The annotations that are no crowd and, if asked for, have a labelled keypoint; a sentence about the others."""
    single = rows.select([not crowd for crowd in rows.crowds])
    wanted = single.select(_labelled(single.keypoints)) if labelled else single
    crowds, bare = len(rows) - len(single), len(single) - len(wanted)
    return wanted, f"Left out: {crowds} crowds, {bare} instances without a labelled keypoint." if crowds or bare else ""


def check_ids(file: Path, values: list[Any], key: str, what: str, names: list[Any]) -> None:
    """Raise :class:`FormatError` where a value of ``key`` is neither a number nor a text; ``names`` are ids."""
    if set(map(type, values)) <= {int, str}:
        return
    if bad := [i for i, value in enumerate(values) if not isinstance(value, (int, str))]:
        name = names[bad[0]] if names[bad[0]] is not None else f"number {bad[0]}"
        raise FormatError(
            f"{str(file)!r}: {what} {name!r} has {key!r} {values[bad[0]]!r}, expected a number; correct it"
        )


def keypoints(rows: Rows, count: int) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """``N×K×2`` coordinates and ``N×K`` visibility; the file may hold flat lists or lists of triples.

    Raises:
        FormatError: An annotation has not ``count`` keypoints of x, y, v, or a value that cannot be.
    """
    flat = _triples(rows, count)
    visible = flat[..., 2]
    known = (visible == 0) | (visible == 1) | (visible == 2)
    rows.refuse(~known.all(axis=1), "has a visibility other than 0, 1, 2; correct it")
    labelled = visible != NOT_LABELLED
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        points = flat[..., :2].astype(np.float32)
    wrong = ~(np.abs(points) < ENORMOUS).all(axis=2) & labelled
    rows.refuse(wrong.any(axis=1), "has a labelled coordinate that is not finite or enormous; correct it or set v to 0")
    points[~labelled] = 0
    return points, visible.astype(np.uint8)


def _triples(rows: Rows, count: int) -> npt.NDArray[np.float64]:
    """``N×K×3``. Raises :class:`FormatError` where an annotation has another number of them, or no numbers."""
    what, values = f"has not {count} keypoints of x, y, v; correct it", rows.keypoints
    if isinstance(values, np.ndarray):
        rows.refuse(np.full(len(rows), values.shape[1] != 3 * count), what)
        return values.reshape(len(rows), count, 3)
    lists = [_unpacked(one) for one in values]
    nested = bool(lists) and isinstance(lists[0], list) and isinstance(next(iter(lists[0]), None), list)
    lengths = np.array([len(one) if isinstance(one, list) else -1 for one in lists])
    rows.refuse(lengths != count * (1 if nested else 3), what)
    try:
        return np.array(lists, np.float64).reshape(len(rows), count, 3)
    except (TypeError, ValueError, OverflowError) as error:
        file = str(rows.file)
        raise FormatError(f"{file!r}: 'keypoints' must be numbers x, y, v ({error}); correct the file") from error


def boxes(rows: Rows) -> FloatArray:
    """``N×4`` corners; NaN where there is no ``bbox``.

    Raises:
        FormatError: One is no four numbers, or not finite.
    """
    empty = _packed([np.nan] * 4)
    boxes = [box or empty for box in rows.boxes]
    try:
        table = _table(boxes)
        xywh = np.array([_unpacked(box) for box in boxes], np.float64) if table is None else table
        xywh = xywh.reshape(len(rows), 4)
    except (TypeError, ValueError, OverflowError) as error:
        file = str(rows.file)
        raise FormatError(f"{file!r}: 'bbox' must be x, y, width, height ({error}); correct the file") from error
    wrong = ~(np.abs(xywh) < ENORMOUS).all(axis=1) & np.fromiter(map(bool, rows.boxes), bool, len(rows))
    rows.refuse(wrong, "has a bbox that is not finite or enormous; correct it or leave it out")
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)


def image_index(rows: Rows, image_ids: list[Any]) -> IntArray:
    """``N`` positions in ``image_ids``.

    Raises:
        FormatError: An id repeats, or is neither a number nor a text.
        DataError: An annotation is of an image that is not listed.
    """
    check_ids(rows.file, image_ids, "id", "image", image_ids)
    number = {key: i for i, key in enumerate(image_ids)}
    if len(number) != len(image_ids):
        found = f"{len(image_ids)} images, {len(number)} ids"
        raise FormatError(f"{str(rows.file)!r}: image ids repeat ({found}); make them unique")
    check_ids(rows.file, rows.image_ids, "image_id", "annotation", rows.ids)
    index = np.fromiter(map(number.get, rows.image_ids, repeat(-1)), np.int64, len(rows))
    if (missing := np.flatnonzero(index < 0)).size:
        name, image = rows.ids[missing[0]], rows.image_ids[missing[0]]
        raise DataError(
            f"{str(rows.file)!r}: annotation {name!r} is of image {image!r}, which is not in 'images'; "
            "add the image or drop the annotation"
        )
    return index
