"""Hand-3D-Studio (Zhao et al., 2020) as papers on adaptation processed it: real hands, cropped to 1.5 times the hand.

``PATH`` is the folder ``H3D_crop``, or the folder that holds it: ``annotation.json``, a list of ``name``,
``keypoint2d`` 21×2, ``keypoint3d``, ``intrinsic_matrix`` and ``without_object``, and the images in ``part1`` to
``part5``. After an ``@`` may follow ``noobject`` (the default: ``without_object`` is 1), ``object`` or ``all``.

Joints: wrist, then thumb to little finger, from base to tip. Coordinates are pixels of the cropped image, taken as they
are, (0, 0) the centre of the top-left pixel; all joints are visible. Splits are the papers': shuffled with seed 42, the
first min(20 %, 3,200) are ``test``, the others ``train``. The image is the crop: crop ``whole``.
"""

from __future__ import annotations

import numpy as np

from poseshift.data.images import ImageFiles
from poseshift.data.published import check_split, load_json, numbers, require_images, seeded_rows, split_options
from poseshift.data.skeletons.hands import HAND21
from poseshift.errors import DataError, FormatError
from poseshift.types import VISIBLE, Annotations

SPLITS = ("all", "train", "test")
OPTIONS = ("noobject", "object", "all")


def read(path: str, *, split: str | None = None, allow_outside: bool = False, labelled: bool = True) -> Annotations:
    """Read Hand-3D-Studio.

    Args:
        path: ``FOLDER`` or ``FOLDER@object``, see above.
        split: ``train``, ``test`` or ``all`` / None.
        allow_outside: See :class:`~poseshift.data.images.ImageFiles`.
        labelled: Without it no keypoint is looked at; that images are crops made from labels stays.

    Raises:
        UsageError: An option after ``@``, or the split, is unknown.
        DataError: A file is missing, or no image is left.
        FormatError: ``annotation.json`` is not what it should be.
    """
    check_split("h3d", split, SPLITS)
    folder, words = split_options(path, "h3d", OPTIONS)
    root = folder / "H3D_crop" if (folder / "H3D_crop").is_dir() else folder
    file, wanted = root / "annotation.json", words[-1] if words else "noobject"
    rows = load_json("h3d", file, list)
    try:
        bare = np.array([int(row["without_object"]) for row in rows])
        names = [str(row["name"]).replace("\\", "/") for row in rows]
        lists = [row["keypoint2d"] for row in rows] if labelled else np.zeros((len(rows), 21, 2))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(repr(error).split())[:150]
        raise FormatError(
            f"{str(file)!r} is not in H3D's layout ({reason}); expected name, keypoint2d and without_object in each row"
        ) from error
    points = numbers(file, lists, (21, 2), "keypoint2d")
    if len(set(names)) < len(names):
        raise FormatError(f"{str(file)!r}: {len(names) - len(set(names))} names of images repeat; make them unique")
    chosen = np.arange(len(rows)) if wanted == "all" else np.flatnonzero(bare == (wanted == "noobject"))
    chosen = chosen[seeded_rows(len(chosen), split)]
    if len(chosen) == 0:
        raise DataError(f"h3d: {str(file)!r} has no image of {wanted!r} in split {split or 'all'!r}; choose others")
    files = tuple(names[i] for i in chosen.tolist())
    images = ImageFiles(root=root, paths=files, allow_outside=allow_outside)
    require_images("h3d", root, files)
    found = Annotations(
        name="h3d",
        images=images,
        image_index=np.arange(len(files)),
        skeleton=HAND21,
        keypoints=points[chosen].astype(np.float32),
        visible=np.full((len(files), 21), VISIBLE, np.uint8),
        boxes=np.full((len(files), 4), np.nan, np.float32),
        groups=np.array(files),
        categories=np.full(len(files), "hand"),
        note="Images are crops of 1.5 times the hand, made from its labels: crop the whole image.",
    )
    return found if labelled else found.blank()
