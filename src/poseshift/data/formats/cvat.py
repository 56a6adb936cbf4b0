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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

import numpy as np

from poseshift.data.archives import files_in, member_bytes, open_zip, zip_images
from poseshift.data.formats import coco
from poseshift.data.skeletons import known_or_new
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE, Annotations, Images, Skeleton

SPLITS: tuple[str, ...] = ()
_EDGE = re.compile(r"<line\b[^>]*>")
_NODE = re.compile(r"<circle\b[^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass
class _Label:
    """A label of the head of the file."""

    name: str = ""
    parent: str = ""
    svg: str = ""


@dataclass
class _Content:
    """What is kept of an XML file while it is read: flat lists, one entry per point."""

    file: str
    labels: list[_Label] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    shapes: list[tuple[int, str, bool]] = field(default_factory=list)
    points: list[tuple[int, str, float, float, int]] = field(default_factory=list)

    def refuse(self, what: str) -> NoReturn:
        raise FormatError(f"{self.file!r}: {what}; export the task as CVAT for images 1.1")


class _Reader:
    """Handlers of the XML parser; the tags that matter, the others are passed over."""

    def __init__(self, content: _Content) -> None:
        self.content = content
        self.path: list[str] = []
        self.text: list[str] = []
        self.in_skeleton = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        content, self.text = self.content, []
        if not self.path and tag != "annotations":
            content.refuse(f"its root is <{tag[:50]}>, expected <annotations>")
        self.path.append(tag)
        if len(self.path) > 50:
            content.refuse("its tags are nested more than 50 deep")
        if tag == "track":
            content.refuse("it holds tracks of a video, which have no images")
        if tag == "label":
            content.labels.append(_Label())
        elif tag == "image":
            content.images.append(attributes.get("name") or content.refuse("an <image> has no name"))
        elif tag in ("skeleton", "points") and not content.images:
            content.refuse(f"a <{tag}> stands outside of an <image>")
        elif tag == "skeleton":
            self.in_skeleton = True
            content.shapes.append((len(content.images) - 1, attributes.get("label", ""), True))
        elif tag == "points":
            self._points(attributes)

    def _points(self, attributes: dict[str, str]) -> None:
        content, label = self.content, attributes.get("label", "")
        if not self.in_skeleton:
            content.shapes.append((len(content.images) - 1, label, False))
        text = attributes.get("points", "")
        try:
            pairs = [tuple(float(value) for value in pair.split(",")) for pair in text.split(";") if pair.strip()]
        except ValueError:
            pairs = [()]
        image = content.images[-1]
        if any(len(pair) != 2 for pair in pairs) or (self.in_skeleton and len(pairs) > 1):
            content.refuse(f"image {image!r}: points {text[:50]!r}, expected x,y pairs")
        if attributes.get("outside") == "1":
            visible = NOT_LABELLED
        else:
            visible = OCCLUDED if attributes.get("occluded") == "1" else VISIBLE
        if visible and not all(abs(value) < 1e6 for pair in pairs for value in pair):
            content.refuse(f"image {image!r}: points {text[:50]!r} are not finite or beyond 1e6 pixels")
        for i, (x, y) in enumerate(pairs):
            content.points.append((len(content.shapes) - 1, label if self.in_skeleton else str(i + 1), x, y, visible))

    def data(self, text: str) -> None:
        self.text.append(text)

    def end(self, tag: str) -> None:
        self.path.pop()
        if tag == "skeleton":
            self.in_skeleton = False
        if tag in ("name", "parent", "svg") and self.path and self.path[-1] == "label" and self.content.labels:
            setattr(self.content.labels[-1], tag, "".join(self.text).strip())


def _parse_xml(text: bytes, file: str) -> _Content:
    content = _Content(file)
    reader, parser = _Reader(content), expat.ParserCreate()

    def doctype(*_: Any) -> None:
        content.refuse("it declares a document type, which is never read")

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.buffer_text = True
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        content.refuse(f"it is no whole XML ({error})")
    if not content.points:
        content.refuse("it has no <skeleton> and no <points> with a point")
    return content


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


def _skeleton(content: _Content, used: list[str], plain: bool) -> Skeleton:
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


def _columns(content: _Content, images: Images) -> Annotations:
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


def _from_coco(archive: zipfile.ZipFile, file: Path, split: str | None, options: dict[str, Any]) -> Annotations:
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
            data = coco.read(str(json_file))
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


def read(path: str, *, split: str | None = None, allow_outside: bool = False) -> Annotations:
    """Read an export of CVAT.

    Args:
        path: See above.
        split: Which JSON of a zip with COCO keypoints; None elsewhere.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.

    Raises:
        UsageError: A split of an XML file, which has none.
        DataError: The file or an image is missing, or a member of the zip leaves it.
        FormatError: The file is none of the two layouts, damaged, or declares a document type.
    """
    file, folders = _locate(path)
    options: dict[str, Any] = {"folders": folders, "allow_outside": allow_outside, "hint": f"cvat:{file.name}@FOLDER"}
    if not zipfile.is_zipfile(file) and file.suffix.lower() != ".zip":
        if split is not None:
            raise UsageError(f"cvat: {str(file)!r} has no split {split!r}; leave the split out")
        content = _parse_xml(file.read_bytes(), str(file))
        return replace(_columns(content, files_in(file, tuple(content.images), **options)), name=file.stem)
    with open_zip(file) as archive:
        found = [name for name in archive.namelist() if name.rpartition("/")[2] == "annotations.xml"]
        if not found:
            return _from_coco(archive, file, split, options)
        if split is not None:
            raise UsageError(f"cvat: {str(file)!r} has no split {split!r}; leave the split out")
        content = _parse_xml(member_bytes(archive, found[0], file), f"{file}/{found[0]}")
        names = tuple(content.images)
        images = zip_images(file, archive, names) or files_in(file, names, **options)
    return replace(_columns(content, images), name=file.stem)
