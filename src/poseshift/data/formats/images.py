"""Images without labels: a folder, searched recursively, or a glob pattern.

``PATH`` is a folder (``images:photos``) or a pattern (``images:videos/*/frame_??.png``, ``**`` for any depth). Files
and folders whose name starts with a dot are passed over. One instance per image, the skeleton has no keypoints, there
are no boxes, and each image is a group of its own.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import numpy as np

from poseshift.data.images import SUFFIXES, ImageFiles
from poseshift.errors import DataError, UsageError
from poseshift.types import Annotations, Skeleton

SPLITS = ("all",)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _in_folder(root: Path) -> list[str]:
    """Relative paths of all images below ``root``, unsorted."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        prefix = os.path.relpath(folder, root)
        prefix = "" if prefix == "." else f"{Path(prefix).as_posix()}/"
        found += [prefix + name for name in names if _is_image(name)]
    return found


def _matching(pattern: str) -> tuple[Path, list[str]]:
    """The longest folder without a wildcard, and the relative paths below it that match."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    root = Path(*parts[:fixed])
    below = str(Path(*parts[fixed:]))
    names = glob.glob(below, root_dir=root, recursive=True)
    return root, [Path(name).as_posix() for name in names if _is_image(os.path.basename(name))]


def read(path: str, *, split: str | None = None, allow_outside: bool = False) -> Annotations:
    """List images, sorted by path.

    Args:
        path: A folder or a glob pattern.
        split: ``all`` or None; unlabelled images have no parts.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.

    Raises:
        UsageError: Unknown split.
        DataError: The folder does not exist, or holds no image.
    """
    if split not in (None, *SPLITS):
        raise UsageError(f"images has no split {split!r}; expected one of {', '.join(SPLITS)}")
    root = Path(path)
    if root.is_dir():
        names = _in_folder(root)
    elif re.search(r"[*?[]", path):
        root, names = _matching(path)
    else:
        raise DataError(f"images: looked for a folder {path!r} and found none; give images:FOLDER or images:'PATTERN'")
    if not names:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"images: {path!r} holds no image; expected files that end in {kinds}: check the path")
    names.sort()
    count = len(names)
    return Annotations(
        name=root.name or "images",
        images=ImageFiles(root=root, paths=tuple(names), allow_outside=allow_outside),
        image_index=np.arange(count),
        skeleton=Skeleton(name="none", keypoints=()),
        keypoints=np.zeros((count, 0, 2), np.float32),
        visible=np.zeros((count, 0), np.uint8),
        boxes=np.full((count, 4), np.nan, np.float32),
        groups=np.array(names),
        categories=np.full(count, ""),
        note="Unlabelled images, no boxes: crop the whole image.",
    )
