"""Label Studio's JSON export (a list of tasks, "JSON" in its export dialogue).

``PATH`` is the JSON file, or ``FILE.json@FOLDER`` where the images are elsewhere than beside it or in ``images/``.

A task has one image and ``annotations[].result[]``; regions of type ``keypointlabels`` are points, whose label names
the keypoint. Points belong to one instance where they lie in one rectangle (``rectanglelabels``): by ``parentID``, or
by a relation between the two. The rectangle gives the box and the category. Points without a rectangle make one
instance per task, of category ``instance``. Of several annotations of a task the first that was not cancelled is read;
predictions are not. Names of keypoints stand in the order in which the file first has them. Every point is visible:
Label Studio has no occluded points. Instances of one image are one group.

Images: ``/data/local-files/?d=PATH`` and ``/data/upload/PROJECT/NAME`` are looked for by that path below the folder,
then by their base name, uploads also without the random prefix; other addresses by their base name alone.

**Pixels**: x and y are percent of the image's width and height, counted from its corner (0 to 100 is edge to edge), so
``x * original_width / 100 - 0.5``.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from poseshift.data.images import SUFFIXES, ImageFiles, leaves_root
from poseshift.data.skeletons import known_or_new
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import VISIBLE, Annotations

SPLITS = ("all",)
_PREFIX = re.compile(r"^[0-9a-f]{8}-")


def _refuse(file: Path, task: Any, what: str) -> NoReturn:
    raise FormatError(f"{str(file)!r}: task {task!r} {what}; correct it in Label Studio and export JSON again")


def _load(file: Path) -> list[dict[str, Any]]:
    tasks = read_json(file, remedy="export it again")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise FormatError(f"{str(file)!r} is no list of tasks; export it from Label Studio as JSON, not JSON_MIN")
    return tasks


def _results(file: Path, task: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The regions of the annotation that counts, and how many annotations were not cancelled."""
    name, annotations = task.get("id"), task.get("annotations", task.get("completions", []))
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        _refuse(file, name, "has no list 'annotations' of objects")
    valid = [entry for entry in annotations if not entry.get("was_cancelled")]
    results = valid[0].get("result", []) if valid else []
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        _refuse(file, name, "has no list 'result' of objects")
    return results, len(valid)


def _numbers(file: Path, task: Any, region: dict[str, Any], keys: tuple[str, ...]) -> list[float]:
    """Values of a region in pixels from the image's corner: x and width by its width, the others by its height."""
    value = region.get("value")
    size: dict[str, Any] = {"x": region.get("original_width"), "y": region.get("original_height")}
    found = [value.get(key) for key in keys] if isinstance(value, dict) else [None]
    for number in (*found, *size.values()):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) < 1e7:
            _refuse(file, task, f"has a region with {str(number)[:40]!r}, expected finite {', '.join(keys)} and a size")
    if region.get("image_rotation") not in (None, 0):
        _refuse(file, task, "shows its image rotated, and its regions are of the rotated image")
    if not all(side > 0 for side in size.values()):
        _refuse(file, task, "has an original_width or original_height that is not above 0")
    scale = [size["x" if key in ("x", "width") else "y"] for key in keys]
    return [number * side / 100 for number, side in zip(found, scale, strict=True)]


def _label(file: Path, task: Any, region: dict[str, Any], kind: str) -> str:
    value = region.get("value")
    labels = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(labels, list) or not labels or not isinstance(labels[0], str) or not labels[0]:
        _refuse(file, task, f"has a region without a label in {kind!r}")
    return str(labels[0])


def _box(file: Path, task: Any, region: dict[str, Any]) -> list[float]:
    """Corners; of a rotated rectangle (about its top-left corner) those of what encloses it."""
    x, y, width, height = _numbers(file, task, region, ("x", "y", "width", "height"))
    angle = region["value"].get("rotation") or 0
    if not isinstance(angle, (int, float)) or not math.isfinite(angle):
        _refuse(file, task, f"has a rotation {str(angle)[:40]!r}")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    xs = [0, width * cos, -height * sin, width * cos - height * sin]
    ys = [0, width * sin, height * cos, width * sin + height * cos]
    return [x + min(xs) - 0.5, y + min(ys) - 0.5, x + max(xs) - 0.5, y + max(ys) - 0.5]


def _parents(results: list[dict[str, Any]], rectangles: dict[str, Any]) -> dict[str, str]:
    """The rectangle of a region by ``parentID``, else by a relation in either direction."""
    parents: dict[str, str] = {}
    for region in results:
        ends = [str(region.get("from_id")), str(region.get("to_id"))]
        if region.get("type") == "relation":
            for child, parent in (ends, ends[::-1]):
                if parent in rectangles:
                    parents.setdefault(child, parent)
        elif str(region.get("parentID")) in rectangles:
            parents[str(region.get("id"))] = str(region.get("parentID"))
    return parents


class _Columns:
    """Flat lists that grow task by task."""

    def __init__(self, file: Path, labelled: bool) -> None:
        self.file, self.labelled = file, labelled
        self.names: dict[str, int] = {}
        self.points: list[tuple[int, int, float, float]] = []
        self.image: list[int] = []
        self.boxes: list[list[float]] = []
        self.categories: list[str] = []
        self.skipped = 0

    def add(self, number: int, task: dict[str, Any]) -> None:
        name = task.get("id", number)
        results, valid = _results(self.file, task)
        self.skipped += max(0, valid - 1)
        rectangles = {str(r.get("id")): r for r in results if r.get("type") == "rectanglelabels"}
        parents = _parents(results, rectangles)
        members: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for region in results:
            if region.get("type") == "keypointlabels":
                members[parents.get(str(region.get("id")), "")].append(region)
        if not self.labelled:
            for region in (region for regions in members.values() for region in regions):
                self.names.setdefault(_label(self.file, name, region, "keypointlabels"), len(self.names))
            members = {key: [] for key in rectangles or ([""] if valid else [])}
        for parent, regions in members.items():
            found: dict[str, list[float]] = {}
            for region in regions:
                label = _label(self.file, name, region, "keypointlabels")
                if label in found:
                    where = "one rectangle" if parent else "no rectangle: put those of one animal into one rectangle"
                    _refuse(self.file, name, f"has two points {label!r} in {where}")
                found[label] = _numbers(self.file, name, region, ("x", "y"))
            row = len(self.image)
            for label, (x, y) in found.items():
                self.points.append((row, self.names.setdefault(label, len(self.names)), x - 0.5, y - 0.5))
            self.image.append(number)
            rectangle = rectangles.get(parent)
            self.boxes.append(_box(self.file, name, rectangle) if rectangle else [math.nan] * 4)
            kind = _label(self.file, name, rectangle, "rectanglelabels") if rectangle else "instance"
            self.categories.append(kind)


def _candidates(file: Path, task: dict[str, Any], name: Any) -> list[str]:
    """Relative paths that may be the image of a task, the likeliest first."""
    data = task.get("data")
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    images = [v for v in values if PurePosixPath(unquote(_address_path(v))).suffix.lower() in SUFFIXES]
    if not images:
        _refuse(file, name, f"names no image in 'data' (found {str(values)[:80]})")
    path = unquote(_address_path(images[0])).replace("\\", "/")
    base = PurePosixPath(path).name
    if path.startswith("/data/upload/"):
        path = path.removeprefix("/data/upload/")
        return [path, f"upload/{path}", base, _PREFIX.sub("", base)]
    return [base] if "://" in images[0] else [path, base]


def _address_path(address: str) -> str:
    """The path of an address; of a local file of Label Studio what its ``d`` says."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if parts.path.rstrip("/").endswith("/data/local-files"):
        return parse_qs(parts.query).get("d", [""])[0]
    return parts.path if parts.scheme else address


def _images(file: Path, tasks: list[dict[str, Any]], folder: Path | None, allow_outside: bool) -> ImageFiles:
    paths = []
    roots = [folder] if folder else [file.parent, file.parent / "images"]
    prefixes = [""] if folder else ["", "images/"]
    for number, task in enumerate(tasks):
        candidates = _candidates(file, task, task.get("id", number))
        if any(".." in PurePosixPath(path).parts for path in candidates) and not allow_outside:
            raise DataError(
                f"{str(file)!r}: task {task.get('id', number)!r}: image path {candidates[0]!r} leaves the data root; "
                "correct the task, or allow it by name with allow_outside"
            )
        allowed = [path for path in candidates if path and (allow_outside or not leaves_root(path))]
        tried = [prefix + path for path in allowed for prefix in prefixes]
        found = next((path for path in tried if os.path.isfile(roots[0] / path)), None)  # no path at all is none too
        if found is None:
            looked = " and ".join(repr(str(root)) for root in roots)
            raise DataError(
                f"{str(file)!r}: the image of task {task.get('id', number)!r}, {candidates[0][:200]!r}, is not in "
                f"{looked}; name the folder: label_studio:{file.name}@FOLDER"
            )
        paths.append(found)
    return ImageFiles(root=roots[0], paths=tuple(paths), allow_outside=allow_outside)


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read a JSON export of Label Studio.

    Args:
        path: ``FILE.json`` or ``FILE.json@FOLDER``, see above.
        split: ``all`` or None; an export has no parts.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only names of points are read: each rectangle is one instance, and each task without one
            that somebody has annotated.

    Raises:
        UsageError: Unknown split.
        DataError: The file or an image is missing, or no task has a point.
        FormatError: The file is no export, or a region is broken; the message names the task.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"label_studio has no split {split!r}; expected one of {', '.join(SPLITS)}")
    text, _, name = path.rpartition("@") if "@" in path and not Path(path).is_file() else (path, "", "")
    file = Path(text)
    if not file.is_file():
        raise DataError(f"label_studio: looked for a file {text!r} and found none; give label_studio:FILE.json")
    folder = next((found for found in (Path(name), file.parent / name) if found.is_dir()), None) if name else None
    if name and folder is None:
        raise DataError(f"label_studio: looked for the images in {name!r} and found no such folder; correct the path")
    columns = _Columns(file, labelled)
    kept: list[dict[str, Any]] = []
    for task in _load(file):
        before = len(columns.image)
        columns.add(len(kept), task)
        if len(columns.image) > before:
            kept.append(task)
    if not kept:
        found = "no task has a point (keypointlabels)" if labelled else "nobody has annotated a task"
        raise DataError(f"{str(file)!r}: {found}; label some, or use images:FOLDER")
    count, names = len(columns.image), list(columns.names)
    points, visible = np.zeros((count, len(names), 2), np.float32), np.zeros((count, len(names)), np.uint8)
    if columns.points:
        rows, joints, x, y = (np.array(column) for column in zip(*columns.points, strict=True))
        points[rows, joints] = np.stack([x, y], axis=1)
        visible[rows, joints] = VISIBLE
    images = _images(file, kept, folder, allow_outside)
    index = np.array(columns.image, np.int64)
    return Annotations(
        name=file.stem,
        images=images,
        image_index=index,
        skeleton=known_or_new(file.stem, names),
        keypoints=points,
        visible=visible,
        boxes=np.array(columns.boxes, np.float32),
        groups=np.array(images.paths)[index],
        categories=np.array(columns.categories),
        note=f"Left out: {columns.skipped} further annotations of the same tasks." if columns.skipped else "",
    )
