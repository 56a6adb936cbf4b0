"""BADJA (Biggs et al., "Creatures great and SMAL", ACCV 2018): frames of videos of animals, 20 annotated joints.

``PATH`` is the folder that holds ``joint_annotations/*.json``, one file a video, with the videos where its authors say:
``DAVIS/JPEGImages/Full-Resolution/…`` and ``extra_videos/…``. After an ``@`` may follow names of videos, separated by
commas: ``badja:BADJA@rs_dog,dog-agility``. Without, they are all whose frames are there: those of ``cat_jump`` and
``tiger`` were never given out. A name that was asked for must be there.

A file is a list of frames: ``image_path`` (relative to ``PATH``), ``segmentation_path`` (not read), ``joints`` (37 of
the SMAL model and its additions) and ``visibility`` (37 flags). A joint is **(y, x)**, row first, 0-indexed, and is
turned round. Only the 20 joints that the authors annotate are kept, in their order; the upper legs are front legs, and
joints 1, 2, 3 of a leg are called elbow, knee and paw as in AnimalPose. A flag that is false means not labelled: the
place beside it, where there is one, was not meant to be used. A visible joint may lie a little outside the picture, as
annotated.

There are no boxes: crop ``from_keypoints`` or ``whole``. Groups are videos, categories are animals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.skeletons.animals import BADJA20
from poseshift.data.texts import read_json
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations

SPLITS = ("all",)
FOLDER = "joint_annotations"
JOINTS = 37
ANNOTATED = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
"""Of the 37, those of :data:`~poseshift.data.skeletons.animals.BADJA20`."""
CATEGORIES = {
    "cat_jump": "cat",
    "cows": "cow",
    "dog-agility": "dog",
    "horsejump-high": "horse",
    "horsejump-low": "horse",
    "impala0": "impala",
    "rs_dog": "dog",
}
"""Animal of a video where it has another name."""
LARGEST = 1e5


def _parse(path: str) -> tuple[Path, tuple[str, ...]]:
    """Root and names of videos; none means all."""
    text, options = path, ""
    if "@" in path and not Path(path).is_dir():
        text, _, options = path.rpartition("@")
    root = Path(text)
    if not (root / FOLDER).is_dir():
        raise DataError(f"badja: looked for a folder {str(root / FOLDER)!r} and found none; give badja:FOLDER")
    known = sorted(file.stem for file in (root / FOLDER).glob("*.json"))
    if not known:
        raise DataError(f"badja: {str(root / FOLDER)!r} holds no JSON file; expected one a video: fetch them again")
    names = tuple(dict.fromkeys(word.strip() for word in options.split(",") if word.strip()))
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"badja: unknown video {unknown[0]!r} in {path!r}; expected after '@' some of {', '.join(known)}"
        )
    return root, names


def _load(file: Path, labelled: bool) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """``N`` paths, ``N×37×2`` joints (y, x), ``N×37`` flags of one video; without labels, zeros."""
    content = read_json(file)
    if not isinstance(content, list) or not all(isinstance(frame, dict) for frame in content):
        raise FormatError(f"{str(file)!r} is no list of frames; expected BADJA's own file: fetch it again")
    paths = [frame.get("image_path") for frame in content]
    if nameless := [i for i, name in enumerate(paths) if not isinstance(name, str) or not name]:
        first = nameless[0]
        raise FormatError(
            f"{str(file)!r}: frame {first} has image_path {paths[first]!r}, expected a path; correct the file"
        )
    joints = np.zeros((len(content), JOINTS, 2))
    flags = np.zeros((len(content), JOINTS), np.bool_)
    for i, frame in enumerate(content if labelled else []):
        try:
            joints[i] = np.array(frame["joints"], np.float64).reshape(JOINTS, 2)
            given = np.array(frame["visibility"], np.float64).reshape(JOINTS)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise FormatError(
                f"{str(file)!r}: frame {i} has no {JOINTS} joints of y, x and {JOINTS} flags ({reason}); fetch the "
                "file again"
            ) from error
        if not np.isin(given, (0, 1)).all():
            raise FormatError(f"{str(file)!r}: frame {i} has a flag other than true and false; correct the file")
        flags[i] = given == 1
    bad = (~np.isfinite(joints) | (np.abs(joints) > LARGEST)).any(axis=2) & flags
    if bad.any():
        frame, joint = np.argwhere(bad)[0].tolist()
        raise FormatError(
            f"{str(file)!r}: joint {joint} of frame {frame} is visible at {joints[frame, joint].tolist()}, no place in "
            "an image; correct the file"
        )
    return [str(path).replace("\\", "/") for path in paths], joints, flags


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read BADJA.

    Args:
        path: ``FOLDER`` or ``FOLDER@VIDEOS``, see above.
        split: ``all`` or None; BADJA has no parts.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it neither joints nor flags are looked at: each frame is one instance.

    Raises:
        UsageError: A video after ``@``, or the split, is unknown.
        DataError: Files are missing, or no frame is left.
        FormatError: A file is not what it should be.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"badja has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root, wanted = _parse(path)
    paths: list[str] = []
    videos: list[str] = []
    joints, flags, absent = [], [], []
    for file in sorted((root / FOLDER).glob("*.json")):
        if wanted and file.stem not in wanted:
            continue
        names, places, visible = _load(file, labelled)
        ImageFiles(root=root, paths=tuple(names), allow_outside=allow_outside)  # refuses paths that leave the root
        missing = missing_files(root, names)
        if missing and len(missing) == len(names) and not wanted:
            absent.append(file.stem)
            continue
        if missing:
            raise DataError(
                f"badja: {len(missing)} of {len(names)} frames of {file.stem!r} are not in {str(root)!r}, the first is "
                f"{names[missing[0]]!r}; unpack DAVIS 2017 (full resolution) and the extra videos there"
            )
        paths += names
        videos += [file.stem] * len(names)
        joints.append(places[:, ANNOTATED])
        flags.append(visible[:, ANNOTATED])
    note = "There are no boxes. Flags that are false count as not labelled."
    if absent:
        note += f" Left out, since their frames are not there: {', '.join(absent)}."
    if not paths:
        raise DataError(
            f"badja: no frame of {', '.join(absent or wanted)} is in {str(root)!r}; unpack the videos there"
        )
    known = np.concatenate(flags)
    return Annotations(
        name="badja",
        images=ImageFiles(root=root, paths=tuple(paths), allow_outside=allow_outside),
        image_index=np.arange(len(paths)),
        skeleton=BADJA20,
        keypoints=np.where(known[..., None], np.concatenate(joints)[..., ::-1], 0).astype(np.float32),
        visible=np.where(known, VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=np.full((len(paths), 4), np.nan, np.float32),
        groups=np.array(videos),
        categories=np.array([CATEGORIES.get(video, video) for video in videos]),
        note=note,
    )
