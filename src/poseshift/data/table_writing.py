"""Writing tables of keypoints as DeepLabCut and Lightning Pose read them, see :mod:`poseshift.data.tables`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poseshift.data.texts import image_path
from poseshift.types import NOT_LABELLED, Annotations, IntArray

SCORER = "poseshift"


def several_in(annotations: Annotations) -> str | None:
    """The key of the first image with several instances, None where there is none."""
    images, count = np.unique(annotations.image_index, return_counts=True)
    crowded = images[count > 1]
    return annotations.images.key(int(crowded[0])) if len(crowded) else None


def individuals(annotations: Annotations) -> tuple[tuple[str, ...], IntArray]:
    """Names of individuals, and which of them each instance is, ``N``: never one twice in an image.

    Categories are the names where no image has one twice; otherwise the instances of an image are numbered. Where no
    image has several instances, there is one individual without a name.
    """
    n = len(annotations)
    if several_in(annotations) is None:
        return ("",), np.zeros(n, np.int64)
    names = [name or "individual" for name in annotations.categories.tolist()]
    images = annotations.image_index.tolist()
    if len(set(zip(images, names, strict=True))) < n:
        count: dict[int, int] = {}
        for row, image in enumerate(images):
            count[image] = count.get(image, 0) + 1
            names[row] = f"individual{count[image]}"
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return tuple(number), np.array([number[name] for name in names], np.int64)


def write_csv(annotations: Annotations, file: Path, names: Sequence[str], which: IntArray) -> None:
    """Write a table with one line per image that has an instance; images are named by their keys.

    Args:
        annotations: ``N`` instances.
        file: The csv.
        names: Of individuals; a single empty one leaves out the header row ``individuals``.
        which: ``N``: the individual that each instance is.
    """
    parts = annotations.skeleton.keypoints
    images, line = np.unique(annotations.image_index, return_inverse=True)
    cells = np.full((len(images), len(names), len(parts), 2), np.nan, np.float32)
    cells[line, which] = np.where(annotations.visible[..., None] != NOT_LABELLED, annotations.keypoints, np.nan)
    columns = [(name, part, axis) for name in names for part in parts for axis in "xy"]
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["scorer", *[SCORER] * len(columns)])
        if any(names):
            table.writerow(["individuals", *[name for name, _, _ in columns]])
        table.writerow(["bodyparts", *[part for _, part, _ in columns]])
        table.writerow(["coords", *[axis for _, _, axis in columns]])
        for image, row in zip(images.tolist(), cells.reshape(len(images), -1).tolist(), strict=True):
            key = image_path(annotations.images.key(image))
            table.writerow([key, *["" if value != value else f"{value:.9g}" for value in row]])
