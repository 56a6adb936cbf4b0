"""MPII Human Pose (Andriluka et al., CVPR 2014): people in everyday photographs, 16 joints.

``PATH`` is one of

* a folder with ``images/`` and ``annot/{train,valid,test,trainval}.json``, the layout that pose code uses; each file is
  a list of ``image``, ``center``, ``scale`` and, but for the test images, ``joints`` 16×2 and ``joints_vis``;
* such a JSON file, or the official ``mpii_human_pose_v1_u12_1.mat``, or the folder that holds the latter; the images
  lie in ``images/`` beside the file or one folder above, or beside the file, or in the folder after an ``@``.

Coordinates count from 1 (MATLAB) in both and are shifted by -1, so that (0, 0) is the centre of the top-left pixel. The
JSON's ``joints_vis`` says labelled or not: visible or not labelled here. The official file says which labelled joints
are hidden: occluded here. Boxes are the squares ``center`` ± ``scale`` · 100, shifted alike; what some code adds
(15 · ``scale`` downwards, 1.25 the size) is not in them. PCKh needs head boxes, which are not read. Splits of the JSON
layout are its files (``all`` is train and valid); the official file has ``train``, and ``test`` without joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.published import check_split, load_json, numbers
from poseshift.data.skeletons.people import MPII16
from poseshift.errors import DataError, FormatError
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE, Annotations

SPLITS = ("all", "train", "valid", "test", "trainval")
OFFICIAL = "mpii_human_pose_v1_u12_1.mat"
_BROKEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError)


@dataclass
class _People:
    """People as a file lists them: coordinates from 1."""

    images: list[str]
    joints: npt.NDArray[np.float64]
    visible: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]


def _from_json(file: Path, labelled: bool) -> _People:
    rows = load_json("mpii", file, list)
    blank = [[0.0, 0.0]] * len(MPII16)
    try:
        images = [str(row["image"]).replace("\\", "/") for row in rows]
        lists = [(labelled and row.get("joints")) or blank for row in rows]
        flags = [(labelled and row.get("joints_vis")) or [0] * len(MPII16) for row in rows]
        centres, scales = [row["center"] for row in rows], [row["scale"] for row in rows]
    except _BROKEN as error:
        reason = " ".join(repr(error).split())[:150]
        raise FormatError(
            f"{str(file)!r} is not in the layout of MPII's JSON files ({reason}); expected image, center and scale"
        ) from error
    known = numbers(file, flags, (len(MPII16),), "joints_vis") != 0
    return _People(
        images=images,
        joints=numbers(file, lists, (len(MPII16), 2), "joints"),
        visible=np.where(known, VISIBLE, NOT_LABELLED).astype(np.uint8),
        centres=numbers(file, centres, (2,), "center"),
        scales=numbers(file, scales, (), "scale"),
    )


def _structs(value: Any) -> list[Any]:
    """MATLAB's struct arrays: scipy gives one struct, an array of them, or an empty array."""
    values = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    return [item for item in values if hasattr(item, "_fieldnames")]


def _hidden(point: Any) -> bool:
    """Whether a labelled joint is said to be hidden; the flag may be missing, empty, a number or a text."""
    flag = getattr(point, "is_visible", "")
    return str(flag) in ("0", "0.0", "False")


def _from_official(file: Path, training: bool | None, labelled: bool) -> _People:
    """The people of the official file with a position and a size."""
    from scipy.io import loadmat  # takes a quarter of a second, which few formats need

    images, places, tables = [], [], []
    try:
        content = loadmat(file, struct_as_record=False, squeeze_me=True, variable_names=["RELEASE"])
        release = content["RELEASE"]
        pictures = _structs(release.annolist)
        parts = np.atleast_1d(release.img_train)
        for picture, part in zip(pictures, parts.tolist(), strict=True):
            for person in _structs(picture.annorect) if training in (None, bool(part)) else ():
                position = _structs(getattr(person, "objpos", None))
                if not position:
                    continue
                table = np.zeros((len(MPII16), 3))
                for points in _structs(getattr(person, "annopoints", None)) if labelled else ():
                    for point in _structs(points.point):
                        table[range(16)[int(point.id)]] = point.x, point.y, OCCLUDED if _hidden(point) else VISIBLE
                images.append(str(picture.image.name))
                places.append([float(position[0].x), float(position[0].y), float(person.scale)])
                tables.append(table)
    except Exception as error:  # scipy raises almost anything on a broken file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        raise FormatError(
            f"{str(file)!r} is no official annotation of MPII ({reason}); expected RELEASE with annolist and img_train"
        ) from error
    table = numbers(file, tables, (len(MPII16), 3), "annopoints")
    place = numbers(file, places, (3,), "objpos and scale")
    return _People(images, table[..., :2], table[..., 2].astype(np.uint8), place[:, :2], place[:, 2])


def _find(path: str, split: str | None) -> tuple[list[Path], Path | None]:
    """The annotation files, and the folder of the images where named."""
    text, images = path, ""
    if "@" in path and not Path(path).exists():
        text, _, images = path.rpartition("@")
    root, folder = Path(text), Path(images) if images else None
    if root.is_file():
        if split not in (None, "all") and root.suffix == ".json":
            raise DataError(f"mpii: split {split!r} chooses a file in a folder, but {text!r} is a file; leave it out")
        return [root], folder
    names = ("train", "valid") if split in (None, "all") else (split or "",)
    files = [root / "annot" / f"{name}.json" for name in names]
    for official in (root / OFFICIAL, root / "annot" / OFFICIAL):
        if not files[0].is_file() and official.is_file():
            return [official], folder
    for file in files:
        if not file.is_file():
            raise DataError(
                f"mpii: looked for {str(file)!r} and for {OFFICIAL!r}, found none; give mpii:FOLDER or mpii:FILE"
            )
    return files, folder


def _located(file: Path, folder: Path | None, names: list[str]) -> Path:
    """The first folder that has any of the first twenty images."""
    near = [file.parent / "images", file.parent.parent / "images", file.parent]
    folders = [folder] if folder else near
    root = next((root for root in folders if len(missing_files(root, names[:20])) < len(names[:20])), None)
    if missing := missing_files(root or folders[0], names):
        looked = ", ".join(repr(str(tried)) for tried in ([root] if root else folders))
        raise DataError(
            f"mpii: {len(missing)} of {len(names)} images have no file, the first is {names[missing[0]]!r}; "
            f"looked in {looked}; name the folder: mpii:{file.name}@FOLDER"
        )
    return root or folders[0]


def _people(file: Path, split: str | None, labelled: bool) -> _People:
    if file.suffix != ".mat":
        return _from_json(file, labelled)
    if split in ("valid", "trainval"):
        raise DataError(f"mpii: {file.name!r} has no split {split!r}, only train and test; use the JSON files for it")
    return _from_official(file, None if split in (None, "all") else split == "train", labelled)


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read MPII Human Pose.

    Args:
        path: A folder or a file, with ``@FOLDER`` where the images are elsewhere, see above.
        split: ``train``, ``valid``, ``test``, ``trainval`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no joint is looked at; boxes are of ``center`` and ``scale``, annotated on their own.

    Raises:
        UsageError: Unknown split.
        DataError: A file is missing, or holds nobody.
        FormatError: A file is not what it should be.
    """
    check_split("mpii", split, SPLITS)
    files, folder = _find(path, split)
    parts = [_people(file, split, labelled) for file in files]
    images = [name for part in parts for name in part.images]
    if not images:
        raise DataError(f"mpii: {str(files[0])!r} has nobody in split {split or 'all'!r}; choose another")
    names, index = np.unique(images, return_inverse=True)
    listed = [str(name) for name in names]
    paths = ImageFiles(root=files[0].parent, paths=tuple(listed), allow_outside=allow_outside)
    visible = np.concatenate([part.visible for part in parts])
    joints = np.concatenate([part.joints for part in parts]) - 1
    centres = np.concatenate([part.centres for part in parts]) - 1
    half = np.concatenate([part.scales for part in parts]) * 100
    boxes = np.concatenate([centres - half[:, None], centres + half[:, None]], axis=1).astype(np.float32)
    boxes[half <= 0] = np.nan
    return Annotations(
        name="mpii",
        images=ImageFiles(root=_located(files[0], folder, listed), paths=paths.paths, allow_outside=allow_outside),
        image_index=index.astype(np.int64).reshape(-1),
        skeleton=MPII16,
        keypoints=np.where((visible > 0)[..., None], joints, 0).astype(np.float32),
        visible=visible,
        boxes=boxes,
        groups=np.array(images),
        categories=np.full(len(images), "person"),
        note="Boxes are the squares of center and scale · 200, which MPII gives apart from the joints. Head boxes, "
        "which PCKh needs, are not read.",
    )
