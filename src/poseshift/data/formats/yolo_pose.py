"""YOLO pose: a ``data.yaml``, ``images/`` and, beside it, ``labels/`` with one text file per image.

``PATH`` is the YAML file, or a folder with exactly one. Its keys are ``path`` (the root, relative to the file),
``train``, ``val`` and ``test`` (each a folder of images, a list of folders, or a text file that lists images),
``kpt_shape: [K, 2|3]``, ``names`` (of the classes), and where known ``flip_idx`` and ``kpt_names``. A line of a label
file is ``class cx cy w h``, then ``x y`` or ``x y v`` per keypoint, all divided by the image's width and height.

A ``path`` or part that leaves the file's folder, such as an absolute one of somebody else's machine, is looked for
inside by its last parts and the note says so; as it stands it is only followed with ``allow_outside``. Parts whose
folder is missing are passed over, unless asked for by ``split``. Names of keypoints come from ``kpt_names``, else
they are ``0`` … ``K-1``; flip pairs from ``flip_idx``, else from the names.

The format measures from the corner of the image, whose right and lower edges are 1: our x is ``x * width - 0.5``, for
boxes too. Files that were made from COCO by dividing its coordinates by the size, as the format's own converter does,
therefore come out half a pixel towards the top left of where COCO has them. ``v`` is COCO's visibility; with two
numbers per keypoint, ``0 0`` and negative ones are not labelled, the others visible. Categories are the classes.
Instances of one image are one group; an image without a label file has no instance.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data.boxes import SizedImages
from poseshift.data.drafts import draft
from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.layouts import Layout
from poseshift.data.texts import read_text, read_yaml
from poseshift.data.yolo import PARTS, Header, header_of, layout_images
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations

SPLITS: tuple[str, ...] = PARTS
BOX = 5
"""Numbers of a line before its keypoints: class, centre, width and height."""
LAYOUT = Layout(inside=True)
MARGIN = 0.01
"""How far beyond 0 and 1 a coordinate may lie, for rounding; further out it is no share of the image."""


def _yaml_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else []
    named = [file for file in found if file.name == "data.yaml"] or found
    if len(named) != 1:
        there = [file.name for file in named] or "none"
        raise DataError(
            f"yolo_pose: looked for data.yaml or one YAML file in {str(path)!r}, found {there}; "
            "give the file: yolo_pose:data.yaml"
        )
    return named[0]


def label_path(image: str) -> str:
    """The label file of an image: the last folder ``images`` of its path becomes ``labels``."""
    parts = image.split("/")
    at = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if at:
        parts[at[-1]] = "labels"
    return os.path.splitext("/".join(parts))[0] + ".txt"


def _rows(
    header: Header, images: ImageFiles, labelled: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
    """``N×(5+K·D)`` numbers of all label files, the image of each row, and how many images have no file.

    Without labels the keypoints' numbers are zeros, whatever is written there.
    """
    width = BOX + len(header.skeleton) * header.dimensions
    labels = [label_path(path) for path in images.paths]
    bare = set(missing_files(images.root, labels))
    flat, index = array("d"), array("q")
    for number, label in enumerate(labels):
        if number in bare:
            continue
        for line, text in enumerate(read_text(images.root / label).splitlines(), start=1):
            cells = text.split()
            if cells and not labelled:
                cells = [*cells[:BOX], *["0"] * (width - min(len(cells), BOX))]
            if cells and len(cells) != width:
                raise FormatError(
                    f"{str(images.root / label)!r}, line {line}: {len(cells)} numbers, expected {width} for "
                    f"{len(header.skeleton)} keypoints of {header.dimensions}; correct it, or kpt_shape"
                )
            try:
                flat.extend([float(cell) for cell in cells])
            except ValueError as error:
                raise FormatError(f"{str(images.root / label)!r}, line {line}: {error}; correct it") from error
            index.extend([number] * bool(cells))
    rows = np.array(flat, np.float64).reshape(len(index), width)
    return rows, np.array(index, np.int64), len(bare)


def _check(header: Header, images: ImageFiles, rows: npt.NDArray[np.float64], index: npt.NDArray[np.int64]) -> None:
    """Refuse unknown classes and flags, and numbers that are no shares of an image."""
    points = rows[:, 5:].reshape(len(rows), -1, header.dimensions)
    flags = points[..., 2] if header.dimensions == 3 else np.ones(points.shape[:2])
    shares = np.concatenate(
        [rows[:, 1:5], np.where(flags[..., None] > 0, points[..., :2], 0).reshape(len(rows), -1)], axis=1
    )
    low = -MARGIN if header.dimensions == 3 else -np.inf
    inside = np.isfinite(shares) & (shares >= low) & (shares <= 1 + MARGIN)
    problems = {
        f"a class that 'names' of {header.file.name!r} does not list": ~np.isin(rows[:, 0], list(header.classes)),
        "a visibility that is not 0, 1 or 2": ~np.isin(flags, (0, 1, 2)).all(axis=1),
        "a number that is no share of the image, 0 to 1": ~inside.all(axis=1),
    }
    for what, bad in problems.items():
        if bad.any():
            first = int(np.argmax(bad))
            line = 1 + first - int(np.searchsorted(index, index[first]))
            label = str(images.root / label_path(images.key(int(index[first]))))
            raise FormatError(f"{label!r}: instance {line} has {what} ({int(bad.sum())} instances in all); correct it")


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read YOLO pose labels.

    Args:
        path: See above.
        split: ``train``, ``val`` or ``test``; None for all that are there.
        allow_outside: Follow paths that leave the folder of the YAML file, see
            :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only class and box of a line are looked at; a line may end after them.

    Raises:
        UsageError: Unknown split.
        DataError: A file, a part or an image is missing, or there is no instance.
        FormatError: A file is not what the format says; the message names it and the line.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"yolo_pose has no split {split!r}; expected one of {', '.join(SPLITS)}")
    file = _yaml_file(Path(path))
    config = read_yaml(file)
    header = header_of(file, config)
    images, moved = layout_images(file, config, split, allow_outside=allow_outside)
    rows, index, bare = _rows(header, images, labelled)
    if len(rows) == 0:
        raise DataError(
            f"{str(file)!r}: {len(images)} images and no instance in {label_path(images.key(0))!r} or the others; "
            "put the folder labels beside images"
        )
    _check(header, images, rows, index)
    sizes = np.zeros((len(images), 2))
    for number in np.unique(index).tolist():
        sizes[number] = images.size(number)
    size = sizes[index]
    points = rows[:, 5:].reshape(len(rows), len(header.skeleton), header.dimensions)
    flags: npt.NDArray[np.float64] = points[..., -1]
    if header.dimensions == 2:
        flags = np.where((points >= 0).all(axis=2) & (points > 0).any(axis=2), float(VISIBLE), 0.0)
    middle, half = rows[:, 1:3] * size - 0.5, rows[:, 3:5] * size / 2
    pixels = points[..., :2] * size[:, None] - 0.5
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    out = (flags > 0) & ((pixels < boxes[:, None, :2] - 1) | (pixels > boxes[:, None, 2:] + 1)).any(axis=2)
    leave = f"In {int(out.any(axis=1).sum())} of {len(rows)} instances a keypoint leaves the box. " if labelled else ""
    note = f"{bare} images without labels. {leave}{moved}"
    return Annotations(
        name=file.stem if file.name != "data.yaml" else file.absolute().parent.name,
        images=images,
        image_index=index,
        skeleton=header.skeleton,
        keypoints=np.where(flags[..., None] > 0, pixels, 0).astype(np.float32),
        visible=flags.astype(np.uint8),
        boxes=boxes.astype(np.float32),
        groups=np.array(images.paths)[index],
        categories=np.array([header.classes[int(number)] for number in rows[:, 0]]),
        note=f"YOLO measures from the image's corner: x is x * width - 0.5. {note}".strip(),
    )


def _corners(annotations: Annotations, size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``N×4`` boxes within the images, from the keypoints where there is none."""
    boxes = annotations.boxes.astype(np.float64)
    known = (annotations.visible != NOT_LABELLED)[..., None]
    low = np.where(known, annotations.keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, annotations.keypoints, -np.inf).max(axis=1, initial=-np.inf)
    given = np.isfinite(boxes).all(axis=1, keepdims=True)
    boxes = np.where(given, boxes, np.concatenate([low, high], axis=1))
    if bad := np.flatnonzero(~np.isfinite(boxes).all(axis=1)).tolist():
        raise DataError(
            f"yolo_pose: an instance of {annotations[bad[0]].key!r} has neither a box nor a labelled keypoint; drop it"
        )
    edges = (boxes + 0.5).reshape(-1, 2, 2)
    return np.clip(edges, 0, size[:, None]).reshape(-1, 4)


def _lines(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    """One line per instance; keypoints outside of their image become ``0 0 0``: the format has no place for them."""
    images = annotations.images
    if not isinstance(images, SizedImages):
        raise DataError(
            "yolo_pose: these images do not tell their sizes, which the format divides by; write coco instead"
        )
    sizes = {number: images.size(number) for number in np.unique(annotations.image_index).tolist()}
    size = np.array([sizes[number] for number in annotations.image_index.tolist()], np.float64).reshape(-1, 2)
    corners = _corners(annotations, size) / np.tile(size, 2)
    boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    shares = (annotations.keypoints.astype(np.float64) + 0.5) / size[:, None]
    kept = (annotations.visible != NOT_LABELLED) & ((shares >= 0) & (shares <= 1)).all(axis=2)
    points = np.where(kept[..., None], np.concatenate([shares, annotations.visible[..., None]], axis=2), 0)
    numbers = np.concatenate([boxes, points.reshape(len(points), -1)], axis=1).tolist()
    place = {name: number for number, name in enumerate(classes)}
    categories = [place[name] for name in annotations.categories.tolist()]
    return [
        f"{number} {' '.join(f'{value:.10g}' for value in row)}"
        for number, row in zip(categories, numbers, strict=True)
    ]


def _label_files(annotations: Annotations, names: Sequence[str], lines: Sequence[str]) -> dict[str, str]:
    """The text of each label file; images without an instance have none."""
    labels = [label_path(name) for name in names]
    if len(set(labels)) != len(labels) or any(not label.startswith("labels/") for label in labels):
        raise DataError(
            "yolo_pose: two images would share a label file, or lie below another folder than images; rename"
        )
    texts: dict[str, str] = {}
    for image, line in zip(annotations.image_index.tolist(), lines, strict=True):
        texts[labels[image]] = f"{texts.get(labels[image], '')}{line}\n"
    return texts


def write(annotations: Annotations, path: Path | str) -> None:
    """Write ``data.yaml``, ``train.txt`` and ``labels/`` into a folder, which is made if need be.

    Image files are named by their keys and not copied: they belong under the same folder, in ``images/`` where their
    keys do not say so. An instance without a box gets that of its keypoints, and boxes are clipped to their image.
    Keypoints outside of their image, edges and groups are no part of the format and are lost. ``data.yaml`` names no
    ``path``, so that its own folder is meant wherever it is read from, and no ``val``, which a training needs besides.

    Raises:
        DataError: One of the three exists already, two images share a label file, a key leaves the folder, an instance
            has neither box nor keypoint, the header of an image cannot be read, or the disk refuses.
    """
    import yaml

    root, skeleton = Path(path), annotations.skeleton
    keys = [annotations.images.key(i) for i in range(len(annotations.images))]
    names = tuple(key if "images" in key.split("/")[:-1] else f"images/{key}" for key in keys)
    ImageFiles(root=root, paths=tuple(keys))
    classes: list[str] = np.unique(annotations.categories).tolist()
    texts = _label_files(annotations, names, _lines(annotations, classes))
    config: dict[str, object] = {
        "train": "train.txt",
        "kpt_shape": [len(skeleton), 3],
        "flip_idx": list(skeleton.flip_index),
        "names": dict(enumerate(classes)),
        "kpt_names": {i: list(skeleton.keypoints) for i in range(len(classes))},
    }
    root.mkdir(parents=True, exist_ok=True)
    # What is opened first appears last: a folder with a data.yaml is whole.
    with draft(root / "data.yaml") as header, draft(root / "train.txt") as listed, draft(root / "labels") as labels:
        labels.mkdir()
        for label, text in texts.items():
            file = labels / label.removeprefix("labels/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        listed.write_text("".join(f"./{name}\n" for name in names), encoding="utf-8")
        header.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
