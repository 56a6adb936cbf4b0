"""CVAT exports: "CVAT for images 1.1" and "COCO Keypoints 1.0".

``PATH`` is one of

* a zip as CVAT exports it, with ``annotations.xml`` or one ``annotations/person_keypoints_*.json`` inside (with a
  split: ``person_keypoints_{split}.json``), and the images inside (read without unpacking) or beside it;
* the XML file of an unpacked export, with the images beside it or in ``images/``;
* either of them and ``@FOLDER`` where the images are elsewhere.

In the XML an instance is a ``<skeleton>`` with one ``<points>`` per sub-label, or, where a file has no skeletons, a
``<points>`` shape with all its points in order. Edges come from the drawing (``<svg>``) of the skeleton's label.
``outside`` becomes not labelled, ``occluded`` occluded. There are no boxes in the XML. Skeletons of one image are one
group. Tracks ("CVAT for video") are refused: export the task for images.

**Pixels**: CVAT counts from the corner of the image, x to its full width and y to its full height (its documentation
has lines that end at y = 1200.00 in an image of 1200 rows), so 0.5 is subtracted, from both kinds of file and from the
boxes of the second. XML with a document type is refused: nothing is ever expanded or fetched.
"""

from __future__ import annotations

import html
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from poseshift.data.archives import files_in, member_bytes, open_zip, zip_images
from poseshift.data.cvat_xml import Content, parse_xml
from poseshift.data.formats import coco
from poseshift.data.skeletons import known_or_new
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Images, Skeleton

SPLITS: tuple[str, ...] = ()
_EDGE = re.compile(r"<line\b[^>]*>")
_NODE = re.compile(r"<circle\b[^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


def _edges(svg: str, names: list[str]) -> Iterator[tuple[int, int]]:
    """The edges that the drawing of a skeleton shows, as positions in ``names``."""
    nodes = {}
    for circle in _NODE.findall(svg):
        found = dict(_ATTRIBUTE.findall(circle))
        nodes[found.get("data-node-id")] = html.unescape(found.get("data-label-name", ""))
    for line in _EDGE.findall(svg):
        found = dict(_ATTRIBUTE.findall(line))
        ends = [nodes.get(found.get(f"data-node-{end}")) for end in ("from", "to")]
        if ends[0] in names and ends[1] in names and ends[0] != ends[1]:
            yield names.index(str(ends[0])), names.index(str(ends[1]))


def _skeleton(content: Content, used: list[str], plain: bool) -> Skeleton:
    """The one list of sub-labels that all labels in use share, in the order of the head of the file."""
    if plain:
        count = max((int(point[1]) for point in content.points), default=0)
        return known_or_new("points", [str(i + 1) for i in range(count)])
    lists = {name: [label.name for label in content.labels if label.parent == name] for name in used}
    names = next(iter(lists.values()))
    if any(other != names for other in lists.values()):
        content.refuse(f"labels {used} have different points; filter the export to labels that share them")
    if not names:  # an export without its head: in the order in which they appear
        names = list(dict.fromkeys(point[1] for point in content.points))
    if not names or len(set(names)) != len(names) or len(names) > 10_000:
        content.refuse(f"skeleton {used[0]!r} has no points, or points of one name")
    svg = next((label.svg for label in content.labels if label.name == used[0] and not label.parent), "")
    return known_or_new(used[0], names, edges=list(dict.fromkeys(_edges(svg, names))))


def _columns(content: Content, images: Images) -> Annotations:
    """The instances; where there are skeletons, single ``<points>`` shapes are left out."""
    plain = not any(shape[2] for shape in content.shapes)
    used = list(dict.fromkeys(shape[1] for shape in content.shapes if shape[2] != plain))
    skeleton = _skeleton(content, used, plain)
    number = {name: i for i, name in enumerate(skeleton.keypoints)}
    kept = [point for point in content.points if content.shapes[point[0]][2] != plain]
    if unknown := [point for point in kept if point[1] not in number]:
        image = content.images[content.shapes[unknown[0][0]][0]]
        content.refuse(f"image {image!r} has a point {unknown[0][1]!r}, known are {list(number)[:20]}")
    rows = np.array([point[0] for point in kept], np.int64)
    columns = np.array([number[point[1]] for point in kept], np.int64)
    flags = np.array([point[4] for point in kept], np.uint8)
    places = np.array([point[2:4] for point in kept], np.float64).reshape(-1, 2) - 0.5
    points = np.zeros((len(content.shapes), len(skeleton), 2), np.float32)
    visible = np.zeros(points.shape[:2], np.uint8)
    points[rows, columns] = np.where(flags[:, None] > 0, places, 0)
    visible[rows, columns] = flags
    wanted = np.array([shape[2] != plain for shape in content.shapes]) & (visible > 0).any(axis=1)
    if not wanted.any():
        raise DataError(f"{content.file!r}: no point of its {len(wanted)} shapes is labelled; label some in CVAT")
    index = np.array([shape[0] for shape in content.shapes], np.int64)
    bare = len(wanted) - int(wanted.sum())
    return Annotations(
        name="cvat",
        images=images,
        image_index=index,
        skeleton=skeleton,
        keypoints=points,
        visible=visible,
        boxes=np.full((len(index), 4), np.nan, np.float32),
        groups=np.array(content.images)[index],
        categories=np.array([shape[1] for shape in content.shapes]),
        note=f"Left out: {bare} shapes without a labelled point or beside the skeletons." if bare else "",
    ).select(wanted)


def _per_image(content: Content, images: Images) -> Annotations:
    """One instance for each image of the file; the names of points are those of the shapes, else of the head."""
    count, skeletons = len(content.images), any(shape[2] for shape in content.shapes)
    used = list(dict.fromkeys(shape[1] for shape in content.shapes if shape[2] == skeletons))
    used = used or list(dict.fromkeys(label.parent for label in content.labels if label.parent))
    if not count:
        raise DataError(f"{content.file!r}: it lists no image; export the task again, with its images")
    plain = not skeletons and bool(content.shapes)
    skeleton = _skeleton(content, used, plain) if used else Skeleton(name="none", keypoints=())
    return Annotations(
        name="cvat",
        images=images,
        image_index=np.arange(count),
        skeleton=skeleton,
        keypoints=np.zeros((count, len(skeleton), 2), np.float32),
        visible=np.zeros((count, len(skeleton)), np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array(content.images),
        categories=np.full(count, "instance"),
        note="Each image of the file is one instance, whatever its labels. No boxes: use boxes whole.",
    )


def _from_coco(
    archive: zipfile.ZipFile, file: Path, split: str | None, options: dict[str, Any], labelled: bool
) -> Annotations:
    """The instances of the JSON inside; its images become the zip's own where it has them."""
    found = [n for n in archive.namelist() if re.search(rf"(^|/)person_keypoints_{re.escape(split or '')}.*\.json$", n)]
    if len(found) != 1:
        raise DataError(
            f"cvat: looked in {str(file)!r} for annotations.xml or one person_keypoints_{split or '*'}.json, found "
            f"{found or 'neither'}; export COCO Keypoints 1.0 or CVAT for images 1.1, or choose a split"
        )
    with tempfile.TemporaryDirectory() as folder:
        json_file, stub = Path(folder) / "annotations.json", Path(folder) / "stub.png"
        json_file.write_bytes(member_bytes(archive, found[0], file))
        stub.touch()
        try:
            content = coco.load(json_file)
            names = tuple(str(row.get("file_name") or "").replace("\\", "/") for row in content["images"])
            # The COCO reader sees a file that is there; what the images are is decided here.
            rows = [{**row, "file_name": stub.name} for row in content["images"]]
            json_file.write_text(json.dumps({**content, "images": rows}), encoding="utf-8")
            data = coco.read(str(json_file), labelled=labelled)
        except DataError as error:
            raise type(error)(str(error).replace(str(json_file), f"{file}/{found[0]}")) from error
    images = zip_images(file, archive, names) or files_in(file, names, **options)
    half = np.float32(0.5)
    points = np.where(data.visible[..., None] > 0, data.keypoints - half, 0).astype(np.float32)
    return replace(data, name=file.stem, images=images, keypoints=points, boxes=data.boxes - half)


def _locate(path: str) -> tuple[Path, list[Path]]:
    """The file, and the folders in which images may lie."""
    text, folder = path, ""
    if "@" in path and not Path(path).exists():
        text, _, folder = path.rpartition("@")
    file = Path(text)
    if file.is_dir():
        file = file / "annotations.xml"
    if not file.is_file():
        raise DataError(f"cvat: looked for a file {str(file)!r} and found none; give cvat:EXPORT.zip or cvat:FILE.xml")
    if not folder:
        return file, [file.parent, file.parent / "images"]
    folders = [found for found in (Path(folder), file.parent / folder) if found.is_dir()]
    if not folders:
        raise DataError(f"cvat: looked for the images in {folder!r} and found no such folder; correct the path")
    return file, folders[:1]


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read an export of CVAT.

    Args:
        path: See above.
        split: Which JSON of a zip with COCO keypoints; None elsewhere.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no point is looked at: each annotation of COCO keypoints is one instance, each image of the
            XML, which has no boxes to tell its skeletons apart, is one.

    Raises:
        UsageError: A split of an XML file, which has none.
        DataError: The file or an image is missing, or a member of the zip leaves it.
        FormatError: The file is none of the two layouts, damaged, or declares a document type.
    """
    file, folders = _locate(path)
    columns = _columns if labelled else _per_image
    options: dict[str, Any] = {"folders": folders, "allow_outside": allow_outside, "hint": f"cvat:{file.name}@FOLDER"}
    if not zipfile.is_zipfile(file) and file.suffix.lower() != ".zip":
        if split is not None:
            raise UsageError(f"cvat: {str(file)!r} has no split {split!r}; leave the split out")
        content = parse_xml(file.read_bytes(), str(file), labelled=labelled)
        return replace(columns(content, files_in(file, tuple(content.images), **options)), name=file.stem)
    with open_zip(file) as archive:
        found = [name for name in archive.namelist() if name.rpartition("/")[2] == "annotations.xml"]
        if not found:
            return _from_coco(archive, file, split, options, labelled)
        if split is not None:
            raise UsageError(f"cvat: {str(file)!r} has no split {split!r}; leave the split out")
        content = parse_xml(member_bytes(archive, found[0], file), f"{file}/{found[0]}", labelled=labelled)
        names = tuple(content.images)
        images = zip_images(file, archive, names) or files_in(file, names, **options)
    return replace(columns(content, images), name=file.stem)
