"""SyntheticAnimal (Mu et al., CVPR 2020): renderings of a horse, a tiger, a hound and a sheep, 640×480.

``PATH`` is the folder that holds ``synthetic_animal/``. After an ``@`` may follow, separated by commas, ``18``
(default) or ``14`` joints, and animals: ``synthetic_animal:animal_data@14,hound``. Without animals they are those of
the published pairs: horse and tiger for 18 joints (→ TigDog), hound and sheep for 14 (→ AnimalPose). A hound's category
is ``dog``.

Files
    ``synthetic_animal/ANIMAL_combineds5r5_texture/*_img.png`` and, for each, ``*_kpts.npy``: an array of x, y and a
    flag for each vertex of the mesh, of which 18 are joints. The box is that of all vertices.
    ``clean_data/keypoints_18.json`` or ``keypoints_14.json``, if there: the same for all images of an animal
    (``{animal: {keypoints, imgpath, bbox: [x0, x1, y0, y1], train_idxs, valid_idxs}}``), which loads much faster.
    ``synthetic_animal.json``, if there: published splits, ``{animal: {train: [...], valid: [...]}}``, positions in the
    sorted list of images; else the splits are those of the clean file.

Vertices were projected with the principal point at (320, 240), so (0, 0) is the outer corner of the top-left pixel:
half a pixel is subtracted. Flag 1 is visible; 0 is hidden by the animal itself and becomes visibility 1, since the
renderer knows the place. A joint outside the picture is not labelled. Groups are poses: the renderings of one moment of
an animation from all sides, as far as the names of the files say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.skeletons import map_keypoints
from poseshift.data.skeletons.animals import ANIMAL14, ANIMAL18
from poseshift.data.splits import published_rows
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE, Annotations, Skeleton

SPLITS = ("all", "train", "valid")
SIZE = (640, 480)
SPLIT_FILE = "synthetic_animal.json"
SKELETONS = {"18": ANIMAL18, "14": ANIMAL14}
DEFAULT_ANIMALS = {"18": ("horse", "tiger"), "14": ("hound", "sheep")}
VERTICES = {
    "horse": (
        *(1718, 1684, 1271, 1634, 1650, 1643, 1659, 925, 392),
        *(564, 993, 726, 1585, 1556, 427, 1548, 967, 877),
    ),
    "tiger": (
        *(2753, 2679, 2032, 1451, 1287, 3085, 1632, 229, 1441),
        *(1280, 2201, 1662, 266, 158, 270, 152, 219, 129),
    ),
    "hound": (
        *(2028, 2580, 912, 878, 977, 1541, 1734, 480, 799),
        *(1575, 1446, 602, 755, 673, 780, 1580, 466, 631),
    ),
    "sheep": (
        *(2046, 1944, 1267, 1875, 1900, 1868, 1894, 687, 173),
        *(1829, 1422, 821, 624, 580, 622, 575, 1370, 716),
    ),
}
"""Vertex of each joint of :data:`~poseshift.data.skeletons.animals.ANIMAL18`, for each animal's mesh."""
UNLABELLED = (
    "Boxes are those that the clean file states; labels, and so boxes of arrays of vertices, were not looked at."
)
_ALIASES = {"dog": "hound"}
_CATEGORIES = {"hound": "dog"}
_POSE = re.compile(r"^\d+_(.+)(_-?[0-9.]+){3}\.png_img\.png$")
_IMAGE, _KEYPOINTS = "img.png", "kpts.npy"


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What the files say about one animal: ``N`` paths, ``N×K×3`` joints, ``N×4`` boxes x0 x1 y0 y1, its splits."""

    paths: list[str]
    joints: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    splits: Any = None


def _parse(path: str) -> tuple[Path, str, tuple[str, ...]]:
    """Root, number of joints as text, animals."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    words = [_ALIASES.get(word.strip(), word.strip()) for word in options.split(",") if word.strip()]
    numbers = [word for word in words if word in SKELETONS]
    animals = tuple(dict.fromkeys(word for word in words if word not in SKELETONS))
    if unknown := [word for word in animals if word not in VERTICES]:
        known = ", ".join((*SKELETONS, *VERTICES))
        raise UsageError(
            f"synthetic_animal: unknown option {unknown[0]!r} in {path!r}; expected after '@' some of {known}"
        )
    if len(set(numbers)) > 1:
        raise UsageError(f"synthetic_animal: both 18 and 14 joints in {path!r}; expected one number: leave one out")
    number = numbers[0] if numbers else "18"
    return Path(text), number, animals or DEFAULT_ANIMALS[number]


def _clean(file: Path) -> dict[str, Any]:
    """The clean annotation; empty where there is none."""
    if not file.is_file():
        return {}
    content: dict[str, Any] = read_json(file, dict, remedy="fetch or make it again, or remove it")
    return content


def _from_clean(file: Path, entry: Any, animal: str, count: int, labelled: bool) -> _Part:
    try:
        paths = [_below(str(path)) for path in entry["imgpath"]]
        joints = np.array(entry["keypoints"], np.float64) if labelled else np.zeros((len(paths), count, 3))
        boxes = np.array(entry["bbox"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(
            f"{str(file)!r}: {animal!r} has no keypoints, imgpath and bbox as numbers ({reason}); fetch it again"
        ) from error
    if joints.shape != (len(paths), count, 3) or boxes.shape != (len(paths), 4):
        found = f"{len(paths)} images, keypoints {joints.shape}, bbox {boxes.shape}"
        raise FormatError(
            f"{str(file)!r}: {animal!r} has {found}; expected (N, {count}, 3) and (N, 4): fetch the file again"
        )
    return _Part(paths=paths, joints=joints, boxes=boxes, splits=entry)


def _below(path: str) -> str:
    """The path from ``synthetic_animal/`` on, since the file names a folder of whoever made it."""
    path = path.replace("\\", "/")
    start = path.find("synthetic_animal/")
    return path[start:] if start > 0 else path


def _vertices(file: Path, needed: int) -> npt.NDArray[np.float64]:
    """``V×3`` of one rendering."""
    try:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ValueError(f"{getattr(array, 'dtype', type(array).__name__)}, no plain numbers")
        vertices = array.astype(np.float64)
    except FileNotFoundError as error:
        raise DataError(f"synthetic_animal: {str(file)!r} is missing beside its image; unpack all files") from error
    except Exception as error:  # numpy raises almost anything on a broken file
        raise FormatError(
            f"{str(file)!r} is no array of numbers ({' '.join(str(error).split())}); fetch it again"
        ) from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) < needed:
        raise FormatError(f"{str(file)!r}: shape {vertices.shape}, expected (at least {needed}, 3); fetch it again")
    if not np.isfinite(vertices).all():
        raise FormatError(f"{str(file)!r}: vertex {_first_bad(vertices)} is not finite; fetch the file again")
    return vertices


def _first_bad(rows: npt.NDArray[np.float64]) -> int:
    """Position of the first row with a number that is not finite."""
    return int(np.argmax(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)))


def _from_arrays(root: Path, animal: str, skeleton: Skeleton, labelled: bool) -> _Part:
    folder = f"synthetic_animal/{animal}_combineds5r5_texture"
    names = sorted(path.name for path in (root / folder).glob(f"*{_IMAGE}"))
    if not names:
        raise DataError(
            f"synthetic_animal: looked for images in {str(root / folder)!r} and found none; "
            "give the folder that holds synthetic_animal/: synthetic_animal:FOLDER"
        )
    ids = np.array(VERTICES[animal])[[i for (i,) in map_keypoints(ANIMAL18, skeleton).partners]]
    joints, boxes = np.zeros((len(names), len(ids), 3)), np.full((len(names), 4), np.nan)
    for i, name in enumerate(names if labelled else []):
        vertices = _vertices(root / folder / f"{name.removesuffix(_IMAGE)}{_KEYPOINTS}", int(ids.max()) + 1)
        joints[i] = vertices[ids]
        low, high = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
        boxes[i] = low[0], high[0], low[1], high[1]
    return _Part(paths=[f"{folder}/{name}" for name in names], joints=joints, boxes=boxes)


def _rows(root: Path, clean: Path, part: _Part, animal: str, split: str | None) -> npt.NDArray[np.int64]:
    """Positions of an animal's images that belong to the split."""
    if split in (None, "all"):
        return np.arange(len(part.paths))
    file = root / SPLIT_FILE
    if file.is_file():
        return published_rows(file, _clean(file), animal, str(split), count=len(part.paths))
    if part.splits is None:
        raise DataError(
            f"synthetic_animal: split {split!r} needs the published positions in {str(file)!r} or {str(clean)!r}, "
            "and neither is there; put one there, or leave the split out"
        )
    key = f"{split}_idxs"
    return published_rows(clean, {animal: part.splits}, animal, key, count=len(part.paths))


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read SyntheticAnimal.

    Args:
        path: ``FOLDER`` or ``FOLDER@OPTIONS``, see above.
        split: ``train``, ``valid`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no joint is looked at and no array opened; a box is then only what the clean file states.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown.
        DataError: Files are missing, or the split has no positions.
        FormatError: A file is not what it should be, or a coordinate is not finite.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"synthetic_animal has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, number, animals = _parse(path)
    skeleton = SKELETONS[number]
    clean = root / "clean_data" / f"keypoints_{number}.json"
    entries = _clean(clean)
    parts, names = [], []
    for animal in animals:
        if animal in entries:
            part = _from_clean(clean, entries[animal], animal, len(skeleton), labelled)
        else:
            part = _from_arrays(root, animal, skeleton, labelled)
        rows = _rows(root, clean, part, animal, split)
        bad = ~(np.isfinite(part.joints).all(axis=(1, 2)) & np.isfinite(part.boxes).all(axis=1))
        if bad.any() and (labelled or animal in entries):
            first = part.paths[int(np.argmax(bad))]
            raise FormatError(f"{str(clean)!r}: {first!r} has a number that is not finite; fetch the file again")
        parts.append(_Part(paths=[part.paths[i] for i in rows], joints=part.joints[rows], boxes=part.boxes[rows]))
        names += [_CATEGORIES.get(animal, animal)] * len(rows)
    found = _annotations(root, skeleton, parts, names, allow_outside=allow_outside)
    return found if labelled else replace(found.blank(), note=UNLABELLED)


def _annotations(
    root: Path, skeleton: Skeleton, parts: list[_Part], categories: list[str], *, allow_outside: bool
) -> Annotations:
    paths = tuple(path for part in parts for path in part.paths)
    if not paths:
        raise DataError(f"synthetic_animal: {str(root)!r} has no image of the animals asked for; give others after '@'")
    images = ImageFiles(root=root, paths=paths, allow_outside=allow_outside)
    if missing := missing_files(root, paths):
        raise DataError(
            f"synthetic_animal: {len(missing)} of {len(paths)} images are not in {str(root)!r}, the first is "
            f"{paths[missing[0]]!r}; unpack all"
        )
    joints = np.concatenate([part.joints for part in parts])
    points, edge = joints[..., :2], np.array(SIZE)
    inside = np.asarray(((points >= 0) & (points < edge)).all(axis=2))
    visible = np.where(inside, np.where(joints[..., 2] > 0, VISIBLE, OCCLUDED), NOT_LABELLED)
    low, high = np.concatenate([part.boxes for part in parts]).reshape(-1, 2, 2).transpose(2, 0, 1)
    boxes = np.concatenate([np.clip(low, 0, edge), np.clip(high, 0, edge)], axis=1)
    return Annotations(
        name="synthetic_animal",
        images=images,
        image_index=np.arange(len(paths)),
        skeleton=skeleton,
        keypoints=np.where(inside[..., None], points - 0.5, 0).astype(np.float32),
        visible=visible.astype(np.uint8),
        boxes=(boxes - 0.5).astype(np.float32),
        groups=np.array([_group(path) for path in paths]),
        categories=np.array(categories),
        note="Boxes are those of the whole mesh, cut at the picture. Self-occluded joints are labelled (visibility 1).",
        reference_shift=0.5,  # it leaves x and y as they are in the file
    )


def _group(path: str) -> str:
    folder, _, name = path.rpartition("/")
    pose = _POSE.match(name)
    return f"{folder.rpartition('/')[2]}/{pose[1]}" if pose else path
