"""Leeds Sports Pose (Johnson & Everingham, BMVC 2010): 2,000 photographs, 14 joints.

``PATH`` is the folder that holds ``images/im0001.jpg …`` and ``joints.mat`` (array ``joints``, 3×14×N). Rows 1 and 2
are x and y counted from 1, so 1 is subtracted. Row 3 is **1 where the joint is occluded** (measured mean 0.073), though
the data's README calls it visibility: it becomes visibility 1, everything else 2. The first 1,000 images are the
published training half, the last 1,000 the test half; papers on adaptation use all 2,000 as target. There are no
boxes: crop ``whole``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poseshift.data.images import ImageFiles, missing_files
from poseshift.data.published import ENORMOUS
from poseshift.data.skeletons import LSP
from poseshift.errors import DataError, FormatError, UsageError
from poseshift.types import OCCLUDED, VISIBLE, Annotations

SPLITS = ("all", "train", "test")
HALF = 1000


def _joints(path: Path, labelled: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """``3×14×N`` from ``joints.mat``; without labels, zeros."""
    from scipy.io import loadmat  # takes a quarter of a second, which only this format needs

    try:
        joints = np.asarray(loadmat(path)["joints"], np.float64)
    except Exception as error:  # scipy raises almost anything on a broken file
        raise FormatError(
            f"{str(path)!r} is no MATLAB file with an array 'joints' ({error}); fetch it again"
        ) from error
    if joints.ndim != 3 or joints.shape[:2] != (3, len(LSP)):
        hint = "; this is the extended set, whose flag means the opposite" if joints.shape[:2] == (14, 3) else ""
        raise FormatError(
            f"{str(path)!r}: 'joints' has shape {joints.shape}, expected (3, 14, N){hint}; use LSP's own file"
        )
    if not labelled:
        return np.zeros_like(joints)
    good = np.abs(joints) < ENORMOUS  # False for NaN too
    if not good.all():
        bad = int(np.argwhere(~good.all(axis=(0, 1)))[0, 0])
        raise FormatError(
            f"{str(path)!r}: image {bad + 1} has a coordinate that is not finite or enormous; fetch the file again"
        )
    return joints


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read LSP.

    Args:
        path: The folder.
        split: ``train`` (the first 1,000), ``test`` (the rest) or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only the number of images is taken from ``joints.mat``.

    Raises:
        UsageError: Unknown split.
        DataError: ``joints.mat`` or an image is missing, or the split is empty.
        FormatError: ``joints.mat`` is not what it should be.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"lsp has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root = Path(path)
    if not (root / "joints.mat").is_file():
        raise DataError(
            f"lsp: looked for {str(root / 'joints.mat')!r} and found none; give the folder of LSP: lsp:FOLDER"
        )
    joints = _joints(root / "joints.mat", labelled)
    count = joints.shape[2]
    names = tuple(f"images/im{number:04d}.jpg" for number in range(1, count + 1))
    if missing := missing_files(root, names):
        first = names[missing[0]]
        raise DataError(
            f"lsp: {len(missing)} of {count} images are not in {str(root)!r}, the first is {first!r}; unpack all"
        )
    rows = {"train": np.arange(min(HALF, count)), "test": np.arange(HALF, count)}.get(split or "all", np.arange(count))
    if len(rows) == 0:
        raise DataError(f"lsp: split {split!r} of {str(root)!r} is empty, since 'joints' has only {count} images")
    found = Annotations(
        name="lsp",
        images=ImageFiles(root=root, paths=names, allow_outside=allow_outside),
        image_index=np.arange(count),
        skeleton=LSP,
        keypoints=np.ascontiguousarray(joints[:2].transpose(2, 1, 0) - 1, np.float32),
        visible=np.where(joints[2].T == 1, OCCLUDED, VISIBLE).astype(np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array(names),
        categories=np.full(count, "person"),
        note="LSP has no boxes: crop the whole image. Its flag 1 is read as occluded, coordinates count from 0.",
        reference_shift=1.0,  # it leaves x and y as they are in the file
    ).select(rows)
    return found if labelled else found.blank()
