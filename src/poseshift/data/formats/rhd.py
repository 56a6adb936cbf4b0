"""Rendered Handpose Dataset (Zimmermann & Brox, ICCV 2017): synthetic hands, 320×320 pixels.

``PATH`` is the folder ``RHD_published_v2``, or the folder that holds it: ``training/`` and ``evaluation/``, each with
``color/%05d.png`` and ``anno_training.pickle`` or ``anno_evaluation.pickle`` (image number to ``uv_vis`` 42×3, ``xyz``
42×3, ``K`` 3×3). The pickles are decoded by :mod:`poseshift.data.pickles`; nothing in them is executed. After an ``@``
may follow, separated by commas, ``hand=left``, ``hand=right`` or ``hand=both`` (the default), ``mirror=left`` or
``mirror=right``, and ``visible_only``.

A file holds the left hand (rows 0 to 20), then the right one (21 to 41): wrist, then each finger from **tip to base**;
here from base to tip. A hand is kept as the papers on adaptation keep it: the side of its square of 1.5 times the
joints' extent is above 64 pixels, more than 16 joints are visible, and the other hand covers less than 0.3 of that
square. They then mirror all right hands, so that only left ones are seen: so does ``mirror=left`` (``mirror=right``
mirrors the left ones). Without, images stay as they are. ``category`` says which hand is seen.
Flag 1 is visible, 0 is read as occluded, since the coordinates of a rendered joint are known; it may lie outside the
image. The papers leave such joints out of training: so does the option ``visible_only``, which reads 0 as not labelled.
Coordinates are taken as they are, (0, 0) the centre of the top-left pixel, as the papers' code takes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles
from poseshift.data.mirrored import WithMirrored
from poseshift.data.pickles import load
from poseshift.data.published import ENORMOUS, NO_BOXES, check_split, require_images, split_options, tight_boxes
from poseshift.data.skeletons.hands import HAND21
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE, Annotations

SPLITS = ("all", "train", "test")
FOLDERS = {"train": "training", "test": "evaluation"}
HANDS = ("left", "right")
OPTIONS = ("hand=left", "hand=right", "hand=both", "mirror=left", "mirror=right", "visible_only")
SIDE, CROP, LEAST, MOST_VISIBLE, OVERLAP = 320, 1.5, 64, 16, 0.3
_TO_BASE_FIRST = np.array([0, *(4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1))])


def _load(root: Path, folder: str, labelled: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Image numbers ``N`` and ``N×2×21×3`` x, y, flag of both hands, joints from base to tip; without labels, zeros."""
    file = root / folder / f"anno_{folder}.pickle"
    if not file.is_file():
        raise DataError(f"rhd: looked for {str(file)!r} and found none; give the folder of the set: rhd:FOLDER")
    content = load(file)
    if not isinstance(content, dict) or not content:
        raise FormatError(f"{str(file)!r} holds a {type(content).__name__}, expected a dict of images; fetch it again")
    try:
        keys = [int(key) for key in content]
        lists = [row["uv_vis"] for row in content.values()] if labelled else np.zeros((len(keys), 42, 3))
        table = np.array(lists, np.float64).reshape(len(keys), 42, 3)
        ids = np.array(keys, np.int64)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        reason = " ".join(repr(error).split())[:150]
        raise FormatError(
            f"{str(file)!r} is not in RHD's layout ({reason}); expected 'uv_vis' of 42×3 for each image number"
        ) from error
    if len(np.unique(ids)) < len(ids) or ids.min() < 0:
        raise FormatError(f"{str(file)!r}: image numbers repeat or are negative; fetch the file again")
    seen = table[..., 2] > 0
    bad = (~(np.abs(table[..., :2]) < ENORMOUS).all(axis=2) & seen).any(axis=1) | ~np.isin(table[..., 2], (0, 1)).all(1)
    if bad.any():
        number = int(ids[int(np.argmax(bad))])
        raise FormatError(
            f"{str(file)!r}: image {number} has a visible joint that is not finite, or a flag other than 0 and 1"
        )
    return ids, table.reshape(len(ids), 2, 21, 3)[:, :, _TO_BASE_FIRST]


def _area(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pixels in boxes whose corners are both inside."""
    extent = np.maximum(box[..., 2:] - box[..., :2] + 1, 0)
    return extent[..., 0] * extent[..., 1]


def _squares(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The papers' crop of each box: a square of 1.5 times its longer side, pushed into the image."""
    side = np.minimum(np.rint(CROP * (box[..., 2:] - box[..., :2]).max(axis=-1)), SIDE)[..., None]
    corner = np.rint((box[..., :2] + box[..., 2:]) / 2 - side / 2)
    last = corner + side - 1
    below, above = corner < 0, last >= SIDE
    first = np.where(above, SIDE - side, np.where(below, 0, corner))
    return np.concatenate([first, np.where(above, SIDE - 1, np.where(below, side - 1, last))], axis=-1)


def _kept(hands: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """``N×2``: which hands of ``N×2×21×3`` are large enough, visible enough and not covered by the other one."""
    points = hands[..., :2]
    known = np.asarray((np.abs(points) < ENORMOUS).all(axis=(2, 3)), np.bool_)
    points = np.where(known[..., None, None], points, 0)
    boxes = np.concatenate([points.min(axis=2), points.max(axis=2)], axis=2)
    squares, other = _squares(boxes), boxes[:, ::-1]
    common = np.concatenate([np.maximum(squares, other)[..., :2], np.minimum(squares, other)[..., 2:]], axis=-1)
    covered = _area(common) / np.maximum(_area(squares), 1) * known[:, ::-1]
    large = (squares[..., 2:] - squares[..., :2]).max(axis=-1) > LEAST
    visible = (hands[..., 2] > 0).sum(axis=2) > MOST_VISIBLE
    return np.asarray(known & large & visible & (covered < OVERLAP), np.bool_)


def _root(folder: Path) -> Path:
    inner = folder / "RHD_published_v2"
    return inner if inner.is_dir() else folder


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read RHD.

    Args:
        path: ``FOLDER`` or ``FOLDER@hand=left``, see above.
        split: ``train`` (``training/``), ``test`` (``evaluation/``) or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only image numbers are read: each image is one instance, of no side and without a box.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown; or one side is asked for without labels.
        DataError: A file is missing, or no hand is left.
        FormatError: An annotation file is not what it should be.
    """
    check_split("rhd", split, SPLITS)
    folder, words = split_options(path, "rhd", OPTIONS)
    root, hidden = _root(folder), NOT_LABELLED if "visible_only" in words else OCCLUDED
    wanted = next((word.removeprefix("hand=") for word in reversed(words) if word.startswith("hand=")), "both")
    mirror = next((word.removeprefix("mirror=") for word in reversed(words) if word.startswith("mirror=")), "")
    if (wanted != "both" or mirror) and not labelled:
        raise UsageError("rhd: hand= and mirror= need labels, which are not looked at here; leave them out")
    parts: list[Any] = []
    files: list[str] = []
    for name in FOLDERS.values() if split in (None, "all") else [FOLDERS[split or ""]]:
        ids, hands = _load(root, name, labelled)
        keep = _kept(hands) & np.array([wanted in (hand, "both") for hand in HANDS])
        keep = keep if labelled else np.tile([True, False], (len(ids), 1))
        image, hand = np.nonzero(keep)
        parts.append((image + len(files), hand, hands[image, hand]))
        files += [f"{name}/color/{number:05d}.png" for number in ids.tolist()]
    index, which, joints = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(index) == 0:
        raise DataError(f"rhd: {str(root)!r} has no {wanted} hand that is large and visible enough; give other data")
    require_images("rhd", root, [files[i] for i in np.unique(index).tolist()])
    visible = np.where(joints[..., 2] > 0, VISIBLE, hidden)
    images = ImageFiles(root=root, paths=tuple(files), allow_outside=allow_outside)
    flipped = np.array([mirror not in (hand, "") for hand in HANDS])[which]
    joints[flipped, :, 0] = SIDE - 1 - joints[flipped, :, 0]
    note = "Left and right hands are not mirrored onto each other: the category says which is which."
    if mirror:
        which, note = np.full(len(which), HANDS.index(mirror)), f"All hands are mirrored to be {mirror} ones."
    found = Annotations(
        name="rhd",
        images=WithMirrored(files=images) if mirror else images,
        image_index=(index + len(files) * flipped).astype(np.int64),
        skeleton=HAND21,
        keypoints=np.where((visible > 0)[..., None], joints[..., :2], 0).astype(np.float32),
        visible=visible.astype(np.uint8),
        boxes=tight_boxes(joints[..., :2]) if labelled else np.full((len(index), 4), np.nan, np.float32),
        groups=np.array(files)[index],
        categories=np.array(HANDS)[which] if labelled else np.full(len(index), "hand"),
        note=f"Boxes are those of the 21 joints; the papers crop 1.5 times their longer side. {note}"
        if labelled
        else f"{NO_BOXES} Each image is one instance.",
    )
    return found if labelled else found.blank()
