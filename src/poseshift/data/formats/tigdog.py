"""TigDog (Del Pero et al., CVPR 2015 and IJCV 2017): frames of videos of horses and tigers, 19 landmarks.

``PATH`` is the folder ``behaviorDiscovery2.0``. After an ``@`` may follow animals, separated by commas:
``tigdog:behaviorDiscovery2.0@tiger``; without, they are ``horse,tiger``, the paper's target.

Files
    ``ranges/ANIMAL/ranges.mat``: array ``ranges``, M×3: number of a shot, its first and its last frame.
    ``landmarks/ANIMAL/SHOT.mat``: cell array ``landmarks``, one cell a frame: a structure of 19×2 coordinates and 19
    flags. A shot without this file has no labels and is passed over.
    ``ANIMAL/00000001.jpg …``: the frames.
    ``tigdog_by_video.json``, for the splits: ``{animal: {train: [...], valid: [...]}}``, the published positions in the
    list of all frames of all labelled shots, in the order of ``ranges``.

The first 18 landmarks are read, as published code does; a tiger's come in another order than a horse's and are put into
the horse's. Flag 1 is visible, 0 not labelled. The data does not say from where it counts: coordinates are
taken as they are, as published code does. Frames of which at most half of the joints are labelled are left out; the
published splits leave the same ones out. A split is by shot, and shots are the groups.

**Boxes come from labels**: the box of the labelled joints, 15 pixels larger on each side, cut at the picture. Papers
crop their targets so; with the usual padding of 1.25 it is the published crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.published import NO_BOXES
from poseshift.data.skeletons.animals import ANIMAL18
from poseshift.data.splits import published_rows
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations

SPLITS = ("all", "train", "valid")
ANIMALS = ("horse", "tiger")
SPLIT_FILE = "tigdog_by_video.json"
LANDMARKS = 19
MARGIN = 15.0
ORDER = {
    "horse": tuple(range(18)),
    "tiger": (0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17, 12, 13, 8, 9, 10, 11),
}
"""Landmark of each joint of :data:`~poseshift.data.skeletons.animals.ANIMAL18`."""


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """All frames of an animal's labelled shots: ``N`` numbers of shots and of frames, ``N×18×3`` joints."""

    shots: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    joints: npt.NDArray[np.float64]


def _parse(path: str) -> tuple[Path, tuple[str, ...]]:
    """Root and animals."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    animals = tuple(dict.fromkeys(word.strip() for word in options.split(",") if word.strip()))
    if unknown := [word for word in animals if word not in ANIMALS]:
        raise UsageError(
            f"tigdog: unknown option {unknown[0]!r} in {path!r}; expected after '@' some of {', '.join(ANIMALS)}"
        )
    return Path(text), animals or ANIMALS


def _matlab(file: Path, name: str) -> Any:
    """The array ``name`` of a MATLAB file."""
    from scipy.io import loadmat  # takes a quarter of a second, which only this format and LSP need

    try:
        return np.asarray(loadmat(file, variable_names=[name])[name])
    except Exception as error:  # scipy raises almost anything on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(
            f"{str(file)!r} is no MATLAB file with an array {name!r} ({reason}); fetch it again"
        ) from error


def _ranges(root: Path, animal: str) -> npt.NDArray[np.int64]:
    """``M×3``: shot, first frame, last frame."""
    file = root / "ranges" / animal / "ranges.mat"
    if not file.is_file():
        raise DataError(
            f"tigdog: looked for {str(file)!r} and found none; give the folder: tigdog:FOLDER/behaviorDiscovery2.0"
        )
    found = _matlab(file, "ranges")
    if found.ndim != 2 or found.shape[1] != 3 or found.dtype.kind not in "iuf":
        raise FormatError(
            f"{str(file)!r}: 'ranges' has shape {found.shape} of {found.dtype}, expected numbers (M, 3); fetch it again"
        )
    numbers = found.astype(np.float64)
    whole = np.isfinite(numbers) & (np.abs(numbers) < 1e8) & (numbers == np.trunc(numbers))
    bad = ~whole.all(axis=1) | (numbers < 0).any(axis=1) | (numbers[:, 1] > numbers[:, 2])
    if bad.any():
        row = int(np.argmax(bad))
        raise FormatError(
            f"{str(file)!r}: row {row + 1} is {found[row].tolist()}, expected a shot, its first and its last frame as "
            "whole numbers; fetch the file again"
        )
    whole_numbers: npt.NDArray[np.int64] = numbers.astype(np.int64)
    return whole_numbers


def _landmarks(file: Path, count: int) -> npt.NDArray[np.float64]:
    """``count×19×3`` of one shot."""
    cells = _matlab(file, "landmarks")
    cells = cells.reshape(-1)
    if len(cells) < count or cells.dtype != object:
        raise FormatError(
            f"{str(file)!r}: 'landmarks' has {len(cells)} cells of {cells.dtype}, expected one for each of the {count} "
            "frames that ranges.mat gives this shot; fetch both files again"
        )
    rows = np.empty((count, LANDMARKS, 3))
    for i in range(count):
        try:
            record = cells[i].reshape(-1)[0]
            points, flags = (np.asarray(record[field], np.float64) for field in record.dtype.names[:2])
            rows[i, :, :2] = points.reshape(LANDMARKS, 2)
            rows[i, :, 2] = flags.reshape(LANDMARKS)
        except Exception as error:  # what a cell of a broken file holds can fail in any way
            reason = " ".join(str(error).split())
            raise FormatError(
                f"{str(file)!r}: cell {i + 1} of 'landmarks' is no structure of {LANDMARKS}×2 coordinates and "
                f"{LANDMARKS} flags ({reason}); fetch the file again"
            ) from error
    labelled = rows[..., 2] > 0
    bad = (~np.isfinite(rows).all(axis=2) | (np.abs(rows) > 1e6).any(axis=2)) & labelled
    if bad.any():
        frame, joint = np.argwhere(bad)[0].tolist()
        raise FormatError(
            f"{str(file)!r}: landmark {joint + 1} of frame {frame + 1} is labelled but at {rows[frame, joint, :2]}, no "
            "place in an image; fetch the file again"
        )
    return rows


def _frames(root: Path, animal: str, labelled: bool) -> _Frames:
    shots, frames, joints = [], [], []
    for shot, first, last in _ranges(root, animal).tolist():
        file = root / "landmarks" / animal / f"{shot}.mat"
        if not file.is_file():
            continue
        count = last - first + 1
        rows = _landmarks(file, count) if labelled else np.zeros((count, LANDMARKS, 3))
        joints.append(rows[:, ORDER[animal]])
        frames.append(np.arange(first, last + 1))
        shots.append(np.full(len(rows), shot))
    if not joints:
        raise DataError(
            f"tigdog: no shot of {str(root / 'ranges' / animal / 'ranges.mat')!r} has landmarks in "
            f"{str(root / 'landmarks' / animal)!r}; unpack the landmarks"
        )
    return _Frames(shots=np.concatenate(shots), frames=np.concatenate(frames), joints=np.concatenate(joints))


def _rows(root: Path, found: _Frames, animal: str, split: str | None, labelled: bool) -> npt.NDArray[np.int64]:
    """Positions that belong to the split and, where labels count, whose joints are labelled for more than half."""
    enough = ((found.joints[..., 2] > 0).sum(axis=1) > len(ANIMAL18) // 2) | (not labelled)
    if split in (None, "all"):
        return np.flatnonzero(enough)
    file = root / SPLIT_FILE
    if not file.is_file():
        raise DataError(
            f"tigdog: split {split!r} needs the published positions as {str(file)!r}, which is not there; put it "
            "there, or leave the split out and split by group"
        )
    rows = published_rows(file, read_json(file, dict), animal, str(split), count=len(enough))
    bare = ~(found.joints[rows, :, 2] > 0).any(axis=1) & labelled
    if bare.any():
        first = int(rows[np.argmax(bare)])
        raise FormatError(
            f"{str(file)!r} does not fit the landmarks: {animal!r}/{split!r} names position {first}, whose frame has "
            "no labelled joint; use the published split and the complete data"
        )
    return rows


def _boxes(
    images: ImageFiles, shots: npt.NDArray[np.str_], points: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """The published boxes, ``N×4``; frames of a shot have one size, so one header a shot is read."""
    low = np.where(labelled[..., None], points, np.inf).min(axis=1) - MARGIN
    high = np.where(labelled[..., None], points, -np.inf).max(axis=1) + MARGIN
    _, first, back = np.unique(shots, return_index=True, return_inverse=True)
    sizes = np.array([_size(images, int(i)) for i in first], np.float64)[back]
    return np.concatenate([np.maximum(low, 0), np.minimum(high, sizes)], axis=1).astype(np.float32)


def _size(images: ImageFiles, index: int) -> tuple[float, float]:
    """Without bound where a header cannot be read, since decoding it fails, and is counted, later."""
    try:
        return images.size(index)
    except DataError:
        return np.inf, np.inf


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read TigDog.

    Args:
        path: ``FOLDER`` or ``FOLDER@ANIMALS``, see above.
        split: ``train``, ``valid`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it every frame of a shot that has landmarks counts, whatever is in them, and has no box.

    Raises:
        UsageError: An animal after ``@``, or the split, is unknown.
        DataError: Files are missing, the split has no positions, or no frame is left.
        FormatError: A file is not what it should be, or does not fit another.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"tigdog has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, animals = _parse(path)
    names: list[str] = []
    joints, shots, categories, total = [], [], [], 0
    for animal in animals:
        found = _frames(root, animal, labelled)
        rows = _rows(root, found, animal, split, labelled)
        names += [f"{animal}/{frame:08d}.jpg" for frame in found.frames[rows].tolist()]
        shots += [f"{animal}/{shot}" for shot in found.shots[rows].tolist()]
        joints.append(found.joints[rows])
        categories += [animal] * len(rows)
        total += len(found.frames)
    if not names:
        raise DataError(f"tigdog: no frame of {', '.join(animals)} in {str(root)!r} is labelled for more than half")
    images = ImageFiles(root=root, paths=tuple(names), allow_outside=allow_outside)
    if missing := missing_files(root, names):
        raise DataError(
            f"tigdog: {len(missing)} of {len(names)} frames are not in {str(root)!r}, the first is "
            f"{names[missing[0]]!r}; unpack all"
        )
    whole = np.concatenate(joints)
    known, groups = whole[..., 2] > 0, np.array(shots)
    points = np.where(known[..., None], whole[..., :2], 0)
    return Annotations(
        name="tigdog",
        images=images,
        image_index=np.arange(len(names)),
        skeleton=ANIMAL18,
        keypoints=points.astype(np.float32),
        visible=np.where(known, VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=_boxes(images, groups, points, known) if labelled else np.full((len(names), 4), np.nan, np.float32),
        groups=groups,
        categories=np.array(categories),
        note=f"Boxes come from labels: of the labelled joints, with {MARGIN:.0f} pixels around. {total} frames have "
        "landmarks; those with at most half of the joints labelled are left out."
        if labelled
        else NO_BOXES,
    )
