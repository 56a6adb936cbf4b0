"""Human3.6M (Ionescu et al., TPAMI 2014) as Moon et al. or papers on adaptation processed it: people in a studio.

``PATH`` is the folder with ``annotations/`` and the images. Two layouts, the first wins where both are there:

* ``annotations/keypoints2d_{S}.json`` and ``crop_images/``: a list of ``name`` and ``keypoint2d`` 16×2 per subject, in
  pixels of crops of 512×512 that are 1.5 times the person; crop ``whole``.
* ``annotations/Human36M_subject{S}_{data,camera,joint_3d}.json`` and ``images/``: 17 joints in the world's millimetres,
  seen as ``R·X + t`` and then by focal lengths ``f`` and centre ``c``. Each subject's every 5th image is read, as those
  papers do. The 16 joints are rows 3 2 1 4 5 6 0 - 8 10 16 15 14 11 12 13, the thorax is midway between the shoulders.

After an ``@`` may follow, separated by commas: ``every_frame`` (not each 5th), ``published_draw`` (of split ``test``,
the 3,200 images that the papers drew with seed 42, with replacement) and subjects (``S1``). Splits: ``train`` is
subjects 1, 5, 6, 7, 8, ``test`` 9 and 11. Coordinates are taken as they are, (0, 0) the centre of the top-left pixel;
all joints are visible. Groups are subjects.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles
from poseshift.data.published import (
    NO_BOXES,
    SEED,
    check_split,
    load_json,
    numbers,
    require_images,
    split_options,
    tight_boxes,
)
from poseshift.data.skeletons.people import HUMAN16
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import VISIBLE, Annotations

SPLITS = ("all", "train", "test")
SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11), "all": (1, 5, 6, 7, 8, 9, 11)}
OPTIONS = ("every_frame", "published_draw", *(f"S{subject}" for subject in SUBJECTS["all"]))
DRAWN, STEP = 3200, 5
JOINTS = np.array([3, 2, 1, 4, 5, 6, 0, 11, 8, 10, 16, 15, 14, 11, 12, 13])
THORAX, SHOULDERS = 7, (12, 13)
_BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


def _broken(file: Path, error: Exception, expected: str) -> FormatError:
    reason = " ".join(repr(error).split())[:150]
    return FormatError(f"{str(file)!r} is not in the expected layout ({reason}); expected {expected}")


def _cropped(file: Path, labelled: bool) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names below ``crop_images`` and ``N×16×2``; without labels, zeros."""
    rows = load_json("human36m", file, list)
    try:
        names = [str(row["name"]) for row in rows]
        lists = [row["keypoint2d"] for row in rows] if labelled else np.zeros((len(rows), 16, 2))
    except _BROKEN as error:
        raise _broken(file, error, "name and keypoint2d in each row") from error
    return names, numbers(file, lists, (16, 2), "keypoint2d")


def _cameras(file: Path) -> tuple[dict[str, int], npt.NDArray[np.float64]]:
    """Camera number to row, and ``C×16`` values: R, t, f, c."""
    content = load_json("human36m", file, dict)
    try:
        rows = [[value for key in "Rtfc" for value in np.ravel(cam[key])] for cam in content.values()]
    except _BROKEN as error:
        raise _broken(file, error, "R, t, f and c of each camera") from error
    return {key: i for i, key in enumerate(content)}, numbers(file, rows, (16,), "R, t, f and c")


def _projected(annotations: Path, subject: int, step: int, labelled: bool) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names below ``images`` and ``N×16×2`` of every ``step``-th image; without labels, zeros."""
    parts = ("data", "camera", "joint_3d")
    data, camera, world = (annotations / f"Human36M_subject{subject}_{part}.json" for part in parts)
    content = load_json("human36m", data, dict)
    try:
        rows: list[dict[str, Any]] = content["images"][::step]
        names = [str(row["file_name"]) for row in rows]
    except _BROKEN as error:
        raise _broken(data, error, "images with file_name") from error
    if not labelled:
        return names, np.zeros((len(names), 16, 2))
    joints, (number, cameras) = load_json("human36m", world, dict), _cameras(camera)
    try:
        seen_by = np.array([number[str(row["cam_idx"])] for row in rows], np.int64)
    except _BROKEN as error:
        raise _broken(data, error, "images with a known cam_idx") from error
    try:
        lists = [joints[str(r["action_idx"])][str(r["subaction_idx"])][str(r["frame_idx"])] for r in rows]
    except _BROKEN as error:
        raise _broken(world, error, f"joints of each action, subaction and frame that {data.name!r} names") from error
    points = numbers(world, lists, (17, 3), "joints")[:, JOINTS]
    points[:, THORAX] = points[:, SHOULDERS].mean(axis=1)
    chosen = cameras[seen_by]
    rotation, shift = chosen[:, :9].reshape(-1, 3, 3), chosen[:, 9:12]
    points = points @ rotation.transpose(0, 2, 1) + shift[:, None]
    if (bad := ~(points[..., 2] > 1e-6).all(axis=1)).any():
        name = names[int(np.argmax(bad))]
        raise FormatError(f"{str(world)!r}: a joint of {name!r} is not in front of its camera; fetch the files again")
    pixels = points[..., :2] / points[..., 2:] * chosen[:, None, 12:14] + chosen[:, None, 14:16]
    return names, numbers(world, pixels, (16, 2), "projected joints")


def _subjects(words: tuple[str, ...], split: str | None) -> list[int]:
    wanted = [subject for subject in SUBJECTS[split or "all"] if f"S{subject}" in words]
    named = [word for word in words if word.startswith("S")]
    if named and not wanted:
        raise UsageError(f"human36m: {named[0]} is not in split {split!r}, which has {SUBJECTS[split or 'all']}")
    return wanted or list(SUBJECTS[split or "all"])


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read Human3.6M.

    Args:
        path: ``FOLDER`` or ``FOLDER@OPTIONS``, see above.
        split: ``train``, ``test`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only names of images are read; of the layout with whole images none has a box then.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown, or they do not go together.
        DataError: A file is missing.
        FormatError: A file is not what it should be.
    """
    check_split("human36m", split, SPLITS)
    root, words = split_options(path, "human36m", OPTIONS)
    subjects = _subjects(words, split)
    draw = "published_draw" in words
    if draw and split != "test":
        raise UsageError(f"human36m: published_draw is of split 'test', not of {split!r}; leave one of them out")
    folder = root / "annotations"
    cropped = (folder / f"keypoints2d_{subjects[0]}.json").is_file()
    step, below = 1 if "every_frame" in words else STEP, "crop_images" if cropped else "images"
    files: list[str] = []
    points, groups = [], []
    for subject in subjects:
        file = folder / f"keypoints2d_{subject}.json"
        names, pixels = _cropped(file, labelled) if cropped else _projected(folder, subject, step, labelled)
        files += [f"{below}/{name}".replace("\\", "/") for name in names]
        points.append(pixels)
        groups += [f"S{subject}"] * len(names)
    if not files:
        raise DataError(f"human36m: {str(folder)!r} lists no image of subjects {subjects}; choose others")
    images = ImageFiles(root=root, paths=tuple(files), allow_outside=allow_outside)
    require_images("human36m", root, files)
    keypoints = np.concatenate(points)
    everything = Annotations(
        name="human36m",
        images=images,
        image_index=np.arange(len(files)),
        skeleton=HUMAN16,
        keypoints=keypoints.astype(np.float32),
        visible=np.full((len(files), 16), VISIBLE, np.uint8),
        boxes=tight_boxes(keypoints) if labelled and not cropped else np.full((len(files), 4), np.nan, np.float32),
        groups=np.array(groups),
        categories=np.full(len(files), "person"),
        note="Images are crops made from labels: crop the whole image."
        if cropped
        else ("Boxes are those of the joints." if labelled else NO_BOXES),
    )
    everything = everything if labelled else everything.blank()
    # Its own generator gives what the global one would after the papers' seed.
    return everything.select(random.Random(SEED).choices(range(len(files)), k=DRAWN)) if draw else everything
