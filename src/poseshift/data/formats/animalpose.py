"""AnimalPose (Cao et al., ICCV 2019), official layout: dogs, cats, sheep, horses and cows in real photographs.

``PATH`` is the folder with ``images/`` and ``keypoints.json``. After an ``@`` may follow, separated by commas, the
animals (default ``dog,sheep``, the paper's target) and ``animalpose20`` for all 20 keypoints instead of the 14 that
SyntheticAnimal shares: ``animalpose:data/animalpose@dog,animalpose20``.

``keypoints.json`` holds ``images`` (id to file name), ``annotations`` (``image_id``, ``category_id``, ``bbox`` as
corners x0 y0 x1 y1, ``keypoints`` 20×(x, y, flag), flag 0 or 1) and ``categories``. Coordinates are taken as they are;
flag 1 becomes visibility 2. The splits need ``split_annotation_index.json`` beside it: for each animal ``train``,
``test`` and ``test_image_disjoint`` as positions in ``annotations``. The published split is by instance: some test
images are also training images, and ``test_disjoint`` leaves these out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.published import ENORMOUS
from poseshift.data.skeletons import ANIMAL14, ANIMALPOSE20, apply, map_keypoints
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations

SPLITS = ("all", "train", "test", "test_disjoint")
ANIMALS = ("dog", "cat", "sheep", "horse", "cow")
DEFAULT_ANIMALS = ("dog", "sheep")
_SPLIT_KEYS = {"train": "train", "test": "test", "test_disjoint": "test_image_disjoint"}


def _parse(path: str) -> tuple[Path, tuple[str, ...], bool]:
    """Root, animals, and whether all 20 keypoints are wanted."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    words = [word.strip() for word in options.split(",") if word.strip()]
    animals = tuple(word for word in words if word != ANIMALPOSE20.name)
    if unknown := [word for word in animals if word not in ANIMALS]:
        known = ", ".join((*ANIMALS, ANIMALPOSE20.name))
        raise UsageError(f"animalpose: unknown option {unknown[0]!r} in {path!r}; expected after '@' some of {known}")
    root = Path(text)
    if not (root / "keypoints.json").is_file():
        looked = str(root / "keypoints.json")
        raise DataError(f"animalpose: looked for {looked!r} and found none; give the folder: animalpose:FOLDER")
    return root, animals or DEFAULT_ANIMALS, ANIMALPOSE20.name in words


def _rows(root: Path, split: str | None, animals: tuple[str, ...], categories: npt.NDArray[np.str_]) -> Any:
    """Positions in ``annotations`` that belong to the split and the animals."""
    if split in (None, "all"):
        return np.flatnonzero(np.isin(categories, animals))
    path = root / "split_annotation_index.json"
    if not path.is_file():
        raise DataError(
            f"animalpose: split {split!r} needs the published split as {str(path)!r}, which is not there; "
            "put it beside keypoints.json, or leave the split out and split by group"
        )
    index, key = read_json(path), _SPLIT_KEYS[split or ""]
    rows = []
    for animal in animals:
        if not isinstance(index, dict) or key not in index.get(animal, {}):
            raise DataError(
                f"animalpose: {str(path)!r} has no {key!r} for {animal!r}; choose other animals or another split"
            )
        part = np.asarray(index[animal][key], np.int64)
        if len(part) and not (part.min() >= 0 and part.max() < len(categories) and (categories[part] == animal).all()):
            raise FormatError(
                f"{str(path)!r} does not fit keypoints.json: {animal!r}/{key!r} points at other annotations"
            )
        rows.append(part)
    return np.sort(np.concatenate(rows))


def _columns(path: Path, *, allow_outside: bool, labelled: bool) -> Annotations:
    """All annotations of ``keypoints.json``, whatever the animal, with 20 keypoints."""
    content = read_json(path)
    try:
        images, rows = content["images"], content["annotations"]
        names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        lists = [row["keypoints"] for row in rows] if labelled else [[0] * 3 * len(ANIMALPOSE20)] * len(rows)
        flat = np.array(lists, np.float64).reshape(len(rows), -1, 3)
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
        categories = np.array([names[int(row["category_id"])] for row in rows])
        ids = [str(row["image_id"]) for row in rows]
        number = {str(key): i for i, key in enumerate(images)}
        files = tuple(f"images/{name}" for name in images.values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{str(path)!r} is not in AnimalPose's layout ({error!r}); use the official keypoints.json"
        ) from error
    if flat.shape[1] != len(ANIMALPOSE20):
        raise FormatError(f"{str(path)!r}: {flat.shape[1]} keypoints per annotation, expected {len(ANIMALPOSE20)}")
    known = flat[..., 2] != 0
    if bad := np.flatnonzero((~(np.abs(flat) < ENORMOUS).all(axis=2) & known).any(axis=1)).tolist():
        found = "a coordinate that is not finite or enormous; correct it"
        raise FormatError(f"{str(path)!r}: annotation number {bad[0]} has {found}")
    if bad := np.flatnonzero(~(np.abs(boxes) < ENORMOUS).all(axis=1)).tolist():
        found = "a bbox that is not finite or enormous; correct it"
        raise FormatError(f"{str(path)!r}: annotation number {bad[0]} has {found}")
    if unknown := [i for i, image in enumerate(ids) if image not in number]:
        raise DataError(
            f"{str(path)!r}: annotation number {unknown[0]} is of image {ids[unknown[0]]!r}, which is not listed"
        )
    return Annotations(
        name="animalpose",
        images=ImageFiles(root=path.parent, paths=files, allow_outside=allow_outside),
        image_index=np.array([number[image] for image in ids], np.int64),
        skeleton=ANIMALPOSE20,
        keypoints=np.where(known[..., None], flat[..., :2], 0).astype(np.float32),
        visible=np.where(known, VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=boxes.astype(np.float32),
        groups=np.array(ids),
        categories=categories,
        note="Boxes are the annotated ones. Groups are images: the published split by instance shares images.",
    )


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read AnimalPose.

    Args:
        path: ``FOLDER`` or ``FOLDER@OPTIONS``, see above.
        split: ``train``, ``test``, ``test_disjoint`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no keypoint is looked at; boxes are annotated ones and stay.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown.
        DataError: Files are missing, the split has no index, or no instance is left.
        FormatError: A file is not in the official layout, or a coordinate or box is not finite.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"animalpose has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, animals, full = _parse(path)
    everything = _columns(root / "keypoints.json", allow_outside=allow_outside, labelled=labelled)
    rows = _rows(root, split, animals, everything.categories)
    if len(rows) == 0:
        raise DataError(f"animalpose: {str(root)!r} has no instance of {', '.join(animals)}; give others after '@'")
    chosen = everything.select(rows)
    files = [chosen.images.key(int(i)) for i in np.unique(chosen.image_index)]
    if missing := missing_files(root, files):
        first = files[missing[0]]
        raise DataError(
            f"animalpose: {len(missing)} images are not in {str(root)!r}, the first is {first!r}; unpack all"
        )
    return chosen if full else apply(chosen, map_keypoints(ANIMALPOSE20, ANIMAL14))
