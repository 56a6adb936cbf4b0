"""COCO keypoints: the JSON that most pose tools write and read.

``PATH`` is one of

* a JSON file, with the images beside it, in ``images/`` or ``data/`` beside it, or in COCO's own layout
  (``annotations/person_keypoints_val2017.json`` and ``val2017/``);
* ``file.json@FOLDER`` where the images are elsewhere (``FOLDER`` relative to the working directory or to the file);
* a folder with exactly one JSON file, or, with a split, exactly one ``annotations/*_{split}*.json``.

An image that is there under the same name in other case (``a.JPG``, ``a.jpg``) is found. Coordinates are taken as they
are: **0-indexed pixels**, (0, 0) the centre of the top-left pixel. An instance without a
``bbox`` gets a row of NaN. Crowds and instances without a labelled keypoint are left out, and counted in the note; of a
target, crowds alone, since its labels are not looked at. All categories in use must name the same keypoints, from whose
names groups and flip pairs come. Instances of one image are one group, unless the annotation names a ``group``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data import coco_rows
from poseshift.data.boxes import SizedImages
from poseshift.data.drafts import draft
from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.layouts import Layout
from poseshift.data.skeletons import known_or_new
from poseshift.data.texts import as_spelt, read_json
from poseshift.errors import DataError, FormatError
from poseshift.types import NOT_LABELLED, Annotations, FloatArray, Skeleton

SPLITS: tuple[str, ...] = ()
LAYOUT = Layout(suffix=".json", file="labels.json")


def _find_json(folder: Path, split: str | None) -> Path:
    """The one JSON file that a folder and a split mean."""
    if split is not None:
        found = sorted((folder / "annotations").glob(f"*_{split}*.json"))
        keypoints = [path for path in found if "keypoints" in path.name]
        found, looked = keypoints or found, f"annotations/*_{split}*.json"
    else:
        found, looked = sorted(folder.glob("*.json")), "*.json"
    if len(found) != 1:
        there = [path.name for path in found] or "none"
        raise DataError(
            f"coco: looked for one {looked} in {str(folder)!r}, found {there}; give the file: coco:FILE.json"
        )
    return found[0]


def _locate(path: str, split: str | None) -> tuple[Path, Path | None]:
    """The JSON file and, where given after ``@``, the folder of the images."""
    text, images = path, ""
    if "@" in path and not Path(path).exists():
        text, _, images = path.rpartition("@")
    file = Path(text)
    if file.is_dir():
        file = _find_json(file, split)
    elif not file.is_file():
        raise DataError(
            f"coco: looked for a file or folder {text!r} and found none; give coco:FILE.json or coco:FOLDER"
        )
    elif split is not None:
        raise DataError(
            f"coco: split {split!r} chooses a file in a folder, but {text!r} is a file; leave the split out"
        )
    if not images:
        return file, None
    for folder in (Path(images), file.parent / images):
        if folder.is_dir():
            return file, folder
    raise DataError(
        f"coco: looked for the images in {images!r} and in {str(file.parent / images)!r}; found no such folder"
    )


def load(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file, each a list of objects."""
    content = read_json(file, remedy="export it again")
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            expected = "COCO keypoints: images, annotations, categories"
            raise FormatError(f"{str(file)!r} has no list {key!r} of objects; expected {expected}; export it again")
    return {key: content[key] for key in ("images", "annotations", "categories")}


def _skeleton(file: Path, categories: Sequence[dict[str, Any]]) -> Skeleton:
    """The skeleton that the categories in use share. Edges count from 1 as COCO's do, unless a 0 shows otherwise."""
    lists = [category.get("keypoints") or [] for category in categories]
    if any(names != lists[0] for names in lists):
        found = {str(category.get("name")): names for category, names in zip(categories, lists, strict=True)}
        raise FormatError(
            f"{str(file)!r}: categories name different keypoints {found}; filter the file to categories that share them"
        )
    if not lists[0] or not all(isinstance(name, str) for name in lists[0]):
        raise FormatError(
            f"{str(file)!r}: no category names its keypoints; expected categories[].keypoints, a list of names"
        )
    edges = [tuple(edge) for edge in categories[0].get("skeleton") or []]
    if any(len(edge) != 2 or not all(isinstance(end, int) for end in edge) for edge in edges):
        raise FormatError(f"{str(file)!r}: categories[].skeleton must hold pairs of indices; found {edges}")
    base = 0 if any(0 in edge for edge in edges) else 1
    name = str(categories[0].get("name")) if len(categories) == 1 else file.stem
    skeleton = known_or_new(name, lists[0], edges=[(a - base, b - base) for a, b in edges])
    sigmas = categories[0].get("sigmas")
    return replace(skeleton, sigmas=tuple(float(s) for s in sigmas)) if sigmas else skeleton


def _image_files(file: Path, images: list[tuple[Any, Any]], folder: Path | None, allow_outside: bool) -> ImageFiles:
    """The files of all images, in the first candidate folder that has any of the first twenty, as they are spelt."""
    names = tuple(str(name or "").replace("\\", "/") for _, name in images)
    if "" in names:
        raise DataError(f"{str(file)!r}: image {images[names.index('')][0]!r} has no file_name; correct the file")
    near = [file.parent, file.parent.parent] if file.parent.name == "annotations" else [file.parent]
    below = ("", "images", "data", token := file.stem.rpartition("_")[2], f"images/{token}")
    folders = [folder] if folder else [base / sub for sub in below for base in near]
    found = ImageFiles(root=folders[0], paths=names, allow_outside=allow_outside)
    root = next((root for root in folders if len(missing_files(root, names[:20])) < len(names[:20])), None)
    root = root or next((root for root in folders if as_spelt(root, names[:20]) != names[:20]), None)
    if root and missing_files(root, names):
        names = as_spelt(root, names)
    if missing := missing_files(root or folders[0], names):
        (name, path), looked = images[missing[0]], ", ".join(repr(str(t)) for t in ([root] if root else folders))
        raise DataError(
            f"{str(file)!r}: {len(missing)} of {len(names)} images have no file, the first is image {name!r}, "
            f"{path!r}; looked in {looked}; name the folder: coco:{file.name}@FOLDER"
        )
    return replace(found, root=root or folders[0], paths=names)


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read COCO keypoints.

    Args:
        path: See above.
        split: Which file of a folder; None where the path names the file.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no label is looked at: every instance but crowds is kept, its keypoints not labelled.

    Raises:
        DataError: A file, a folder or an image is missing, or an annotation's image is not listed.
        FormatError: The file is not COCO keypoints; the message names the annotation.
    """
    file, folder = _locate(path, split)
    images, everything, listed = coco_rows.load(file, labelled=labelled)
    rows, note = coco_rows.kept(everything, labelled)
    if not len(rows):
        raise DataError(
            f"{str(file)!r} has no instance{' with a labelled keypoint' * labelled}. {note} Use images:FOLDER instead"
        )
    by_id = {category.get("id"): category for category in listed}
    coco_rows.check_ids(file, rows.category_ids, "category_id", "annotation", rows.ids)
    if unknown := set(rows.category_ids) - set(by_id):
        raise FormatError(
            f"{str(file)!r}: category {min(unknown, key=str)!r} is used but not listed; known are {list(by_id)}"
        )
    used = set(rows.category_ids)
    categories = [category for key, category in by_id.items() if key in used]
    named = labelled or any(category.get("keypoints") for category in categories)
    skeleton = _skeleton(file, categories) if named else Skeleton(name="none", keypoints=())
    points, visible = coco_rows.keypoints(rows, len(skeleton)) if labelled else _no_labels(len(rows), len(skeleton))
    if labelled and visible.max() == 1:
        note = f"{note} Visibility is 0 or 1 throughout: COCO's 1 means labelled but occluded.".strip()
    names = {key: str(category.get("name")) for key, category in by_id.items()}
    return Annotations(
        name=file.stem,
        images=_image_files(file, images, folder, allow_outside),
        image_index=coco_rows.image_index(rows, [key for key, _ in images]),
        skeleton=skeleton,
        keypoints=points,
        visible=visible,
        boxes=coco_rows.boxes(rows),
        groups=np.array(rows.groups),
        categories=np.array([names[key] for key in rows.category_ids]),
        note=note,
    )


def _no_labels(instances: int, keypoints: int) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    return np.zeros((instances, keypoints, 2), np.float32), np.zeros((instances, keypoints), np.uint8)


def _document(annotations: Annotations) -> dict[str, Any]:
    """The JSON document of some annotations; what their images' sizes cost is one header each."""
    skeleton, images = annotations.skeleton, annotations.images
    names, category = np.unique(annotations.categories, return_inverse=True)
    shared = {"keypoints": list(skeleton.keypoints), "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges]}
    shared |= {"sigmas": list(skeleton.sigmas)} if skeleton.sigmas else {}
    listed: list[dict[str, Any]] = [{"id": i + 1, "file_name": images.key(i)} for i in range(len(images))]
    if isinstance(images, SizedImages):
        for i, entry in enumerate(listed):
            entry["width"], entry["height"] = images.size(i)
    known = (annotations.visible != NOT_LABELLED)[..., None]
    points = np.where(known, annotations.keypoints.astype(np.float64), 0)
    triples = np.concatenate([points, annotations.visible[..., None]], axis=2)
    boxes = annotations.boxes.astype(np.float64)
    rows: list[dict[str, Any]] = []
    for i in range(len(annotations)):
        row = {"id": i + 1, "image_id": int(annotations.image_index[i]) + 1, "category_id": int(category[i]) + 1}
        box = [*boxes[i, :2], *(boxes[i, 2:] - boxes[i, :2])]
        extra = {"bbox": box, "area": box[2] * box[3]} if np.isfinite(boxes[i]).all() else {}
        count = int((annotations.visible[i] > 0).sum())
        rows.append({**row, **extra, "iscrowd": 0, "num_keypoints": count, "group": str(annotations.groups[i])})
        rows[-1]["keypoints"] = [int(v) if j % 3 == 2 else float(v) for j, v in enumerate(triples[i].ravel())]
    categories = [{"id": i + 1, "name": str(name), **shared} for i, name in enumerate(names)]
    return {"images": listed, "annotations": rows, "categories": categories}


def write(annotations: Annotations, path: Path | str) -> None:
    """Write COCO keypoints; reading them back with ``path@root`` gives the same instances.

    Image files are named by their keys and not copied. Groups of the skeleton are not part of COCO and are lost, unless
    the skeleton is known by its names.

    Raises:
        DataError: ``path`` exists already, the disk refuses, or the header of an image cannot be read.
    """
    text = json.dumps(_document(annotations), allow_nan=False)
    with draft(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
