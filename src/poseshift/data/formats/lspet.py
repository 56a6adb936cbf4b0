"""Leeds Sports Pose Extended Training (Johnson & Everingham, CVPR 2011): 10,000 photographs of one person each.

``PATH`` is the folder with ``joints.mat`` and ``im00001.jpg`` … in it or in ``images/`` (the later high-resolution copy
has ``.png`` files). ``joints.mat`` holds ``joints``, 14×3×N: x, y and a flag for each joint and image, in the order of
:data:`~poseshift.data.skeletons.LSP`. The flag means the **opposite of LSP's**: 1 is visible, 0 is a joint that nobody
marked, whose coordinates mean nothing: not labelled. Coordinates count from 1 (MATLAB) and are shifted by -1, so that
(0, 0) is the centre of the top-left pixel.

The set is training data and has no splits; its labels come from a crowd and are known to be less exact than LSP's.
There are no boxes: crop ``whole`` or ``from_keypoints``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles
from poseshift.data.published import ENORMOUS, check_split, require_images
from poseshift.data.skeletons import LSP
from poseshift.errors import DataError, FormatError
from poseshift.types import NOT_LABELLED, VISIBLE, Annotations

SPLITS = ("all",)
_IMAGE = re.compile(r"im\d+\.(jpg|png)")


def _joints(file: Path, labelled: bool) -> npt.NDArray[np.float64]:
    """``N×14×3`` x, y, flag; without labels, zeros."""
    from scipy.io import loadmat  # takes a quarter of a second, which few formats need

    try:
        joints = np.asarray(loadmat(file, variable_names=["joints"])["joints"], np.float64)
    except Exception as error:  # scipy raises almost anything on a broken file
        reason = " ".join(str(error).split())[:150]
        raise FormatError(
            f"{str(file)!r} is no MATLAB file with an array 'joints' ({reason}); fetch it again"
        ) from error
    if joints.ndim != 3 or joints.shape[:2] != (len(LSP), 3) or joints.shape[2] == 0:
        hint = "; this is LSP itself: lsp:FOLDER" if joints.shape[:2] == (3, len(LSP)) else ""
        raise FormatError(
            f"{str(file)!r}: 'joints' has shape {joints.shape}, expected (14, 3, N){hint}; use the set's own"
        )
    joints = joints.transpose(2, 0, 1) if labelled else np.zeros((joints.shape[2], len(LSP), 3))
    flags = joints[..., 2]
    bad = (~(np.abs(joints[..., :2]) < ENORMOUS).all(axis=2) & (flags != 0)) | ~np.isin(flags, (0, 1))
    if bad.any():
        number = int(np.argmax(bad.any(axis=1))) + 1
        raise FormatError(
            f"{str(file)!r}: image {number} has a visible joint that is not finite, or a flag other than 0 and 1"
        )
    return joints


def _files(root: Path, count: int) -> tuple[str, ...]:
    """The images in the order of their numbers, wherever they lie."""
    for folder in ("images", ""):
        there = os.listdir(root / folder) if (root / folder).is_dir() else []
        if names := sorted(name for name in there if _IMAGE.fullmatch(name)):
            suffix = Path(names[0]).suffix
            names = [name for name in names if name.endswith(suffix)]
            # The high-resolution copy leaves images out: then only the sorted list can tell which is which.
            plain = [f"im{number:05d}{suffix}" for number in range(1, count + 1)]
            prefix = f"{folder}/" if folder else ""
            return tuple(prefix + name for name in (names if len(names) == count else plain))
    raise DataError(f"lspet: looked for im00001.jpg in {str(root)!r} and its 'images', found none; unpack the images")


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read LSP Extended.

    Args:
        path: The folder.
        split: ``all`` or None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only the number of images is taken from ``joints.mat``.

    Raises:
        UsageError: Unknown split.
        DataError: ``joints.mat`` or an image is missing.
        FormatError: ``joints.mat`` is not what it should be.
    """
    check_split("lspet", split, SPLITS)
    root = Path(path)
    if not (root / "joints.mat").is_file():
        raise DataError(f"lspet: looked for {str(root / 'joints.mat')!r} and found none; give the folder: lspet:FOLDER")
    joints = _joints(root / "joints.mat", labelled)
    files = _files(root, len(joints))
    require_images("lspet", root, files)
    seen = joints[..., 2] == 1
    return Annotations(
        name="lspet",
        images=ImageFiles(root=root, paths=files, allow_outside=allow_outside),
        image_index=np.arange(len(files)),
        skeleton=LSP,
        keypoints=np.where(seen[..., None], joints[..., :2] - 1, 0).astype(np.float32),
        visible=np.where(seen, VISIBLE, NOT_LABELLED).astype(np.uint8),
        boxes=np.full((len(files), 4), np.nan, np.float32),
        groups=np.array(files),
        categories=np.full(len(files), "person"),
        note="Joints that the set does not mark as visible are read as not labelled. There are no boxes.",
    )
