"""FreiHAND (Zimmermann et al., ICCV 2019): right hands with and without objects, 224×224 pixels.

``PATH`` is the folder with ``training_K.json`` (N×3×3), ``training_xyz.json`` (N×21×3, metres) and
``training/rgb/%08d.jpg``. Each of the N = 32,560 poses has four images, which differ in their background: image
``i + N * v`` is version ``v`` of pose ``i``, in the order ``gs`` (green screen), ``hom``, ``sample``, ``auto``. After
an ``@`` may follow the versions wanted, separated by commas (default all): ``freihand:data/freihand@gs``.

Keypoints are the joints projected by ``K``, in the set's own order: wrist, then thumb to little finger, from base to
tip. Coordinates are taken as they are, (0, 0) the centre of the top-left pixel. Nothing says which joints are hidden:
all are visible. Splits: ``train`` and ``test`` are those of papers on adaptation (shuffled with seed 42, the first
min(20 %, 3,200) images are the test part), so a pose may lie in both with another background: groups are poses.
``evaluation`` is the set's own, if ``evaluation_K.json`` and ``evaluation_xyz.json`` are there; they came years after
the images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseshift.data.images import ImageFiles
from poseshift.data.published import (
    NO_BOXES,
    check_split,
    load_json,
    numbers,
    require_images,
    seeded_rows,
    split_options,
    tight_boxes,
)
from poseshift.data.skeletons.hands import HAND21
from poseshift.errors import DataError, FormatError
from poseshift.types import VISIBLE, Annotations

SPLITS = ("all", "train", "test", "evaluation")
TIGHT = "Boxes are those of the 21 joints; the papers crop 1.5 times their longer side."
VERSIONS = ("gs", "hom", "sample", "auto")
"""In the order of the image numbers."""
SHUFFLED = ("gs", "auto", "sample", "hom")
"""In the order in which the papers' code lists them before it shuffles."""


def _projected(root: Path, part: str, labelled: bool) -> npt.NDArray[np.float64]:
    """``N×21×2`` pixels of ``training`` or ``evaluation``; without labels, as many zeros as there are cameras."""
    files = [root / f"{part}_{name}.json" for name in ("K", "xyz")]
    if labelled and part == "evaluation" and not files[1].is_file():
        raise DataError(
            f"freihand: split 'evaluation' needs {str(files[1])!r}, which is not there; "
            "add the labels that were published later, or use another split"
        )
    cameras = numbers(files[0], load_json("freihand", files[0], list), (3, 3), "K")
    if not labelled:
        return np.zeros((len(cameras), 21, 2))
    joints = numbers(files[1], load_json("freihand", files[1], list), (21, 3), "joints")
    if len(cameras) != len(joints) or len(joints) == 0:
        raise FormatError(
            f"{str(files[0])!r} has {len(cameras)} rows and {files[1].name!r} has {len(joints)}; "
            "expected as many, one a pose: fetch both again"
        )
    seen = joints @ cameras.transpose(0, 2, 1)
    if (bad := ~(seen[..., 2] > 1e-6).all(axis=1)).any():
        row = int(np.argmax(bad))
        raise FormatError(
            f"{str(files[1])!r}: row {row} has a joint that is not in front of its camera; fetch it again"
        )
    return numbers(files[1], seen[..., :2] / seen[..., 2:], (21, 2), "projected joints")


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read FreiHAND.

    Args:
        path: ``FOLDER`` or ``FOLDER@VERSIONS``, see above.
        split: ``train``, ``test``, ``evaluation`` or ``all`` / None (all of ``training/``).
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it only the cameras are counted: each image is one instance, without a box.

    Raises:
        UsageError: A version or the split is unknown.
        DataError: A file is missing.
        FormatError: A file is not what it should be.
    """
    check_split("freihand", split, SPLITS)
    root, words = split_options(path, "freihand", VERSIONS)
    part = "evaluation" if split == "evaluation" else "training"
    poses = _projected(root, part, labelled)
    count = len(poses)
    versions = [v for v in SHUFFLED if v in (words or VERSIONS)] if part == "training" else ["gs"]
    pose = np.tile(np.arange(count), len(versions))
    image = pose + count * np.repeat([VERSIONS.index(v) for v in versions], count)
    rows = np.arange(count) if part == "evaluation" else seeded_rows(len(pose), split)
    if len(rows) == 0:
        raise DataError(f"freihand: split {split!r} of {str(root)!r} is empty, since there are only {len(pose)} images")
    pose, image = pose[rows], image[rows]
    files = tuple(f"{part}/rgb/{number:08d}.jpg" for number in image.tolist())
    require_images("freihand", root, files)
    found = Annotations(
        name="freihand",
        images=ImageFiles(root=root, paths=files, allow_outside=allow_outside),
        image_index=np.arange(len(files)),
        skeleton=HAND21,
        keypoints=poses[pose].astype(np.float32),
        visible=np.full((len(files), 21), VISIBLE, np.uint8),
        boxes=tight_boxes(poses[pose]) if labelled else np.full((len(files), 4), np.nan, np.float32),
        groups=np.char.add(f"{part}/", pose.astype(str)),
        categories=np.full(len(files), "right"),
        note=f"{TIGHT if labelled else NO_BOXES} Groups are poses: the published seed-42 split does not keep them "
        "apart.",
    )
    return found if labelled else found.blank()
