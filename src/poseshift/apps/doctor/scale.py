"""Sizes: of images, of boxes, of instances in their crops, and how many different images there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseshift.apps.doctor.features import grey, shrink
from poseshift.apps.doctor.samples import Sample
from poseshift.types import FloatArray

CELLS = 32
MOVED = 0.06
"""Change of one of 32×32 cells (15 of 255 grey levels) from which two crops show different moments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Sizes in one domain, of the sampled instances unless it says otherwise.

    Attributes:
        instances: Of the whole data. ``images``: that hold them.
        boxed: Share of all instances that have a box.
        crowded: Share of all instances whose image holds another one.
        sizes: ``n×2`` width and height of images.
        boxes: ``n×2`` width and height of boxes; NaN without one.
        side: ``n`` sides of the crops in pixels of the image.
        fill: ``n`` longer sides of the box as shares of the crop's side; NaN without a box.
        shown: ``n`` shares of the crop that lie inside the image.
        twins: Share of crops that have a twin, a crop that differs nowhere by more than 15 grey levels.
    """

    instances: int
    images: int
    boxed: float
    crowded: float
    sizes: FloatArray
    boxes: FloatArray
    side: FloatArray
    fill: FloatArray
    shown: FloatArray
    twins: float

    @property
    def aspect(self) -> FloatArray:
        """Width over height of the boxes that there are."""
        known = self.boxes[np.isfinite(self.boxes).all(1)]
        ratio: FloatArray = (known[:, 0] / np.maximum(known[:, 1], 1e-6)).astype(np.float32)
        return ratio


def describe(sample: Sample) -> Scale:
    """The sizes of one domain."""
    data = sample.annotations
    boxes = data.boxes[sample.rows]
    extent = boxes[:, 2:] - boxes[:, :2]
    side = sample.regions[:, 2] - sample.regions[:, 0]
    _, member, count = np.unique(data.image_index, return_inverse=True, return_counts=True)
    return Scale(
        instances=len(data),
        images=len(count),
        boxed=float(np.isfinite(data.boxes).all(1).mean()),
        crowded=float((count[member] > 1).mean()),
        sizes=sample.sizes,
        boxes=extent,
        side=side,
        fill=extent.max(1) / side,
        shown=sample.shown,
        twins=twins(thumbnails(sample)),
    )


def thumbnails(sample: Sample) -> FloatArray:
    """``n×1024`` grey values in 0..1 of 32×32 cells of each crop."""
    factor = max(1, sample.crops.shape[1] // CELLS)
    return np.stack([shrink(grey(crop), factor).ravel() for crop in sample.crops]) / np.float32(255)


def twins(cells: FloatArray) -> float:
    """Share of rows that agree with another row in every cell."""
    found = np.zeros(len(cells), np.bool_)
    for number in range(len(cells) - 1):
        near = np.abs(cells[number + 1 :] - cells[number]).max(1) <= MOVED
        found[number] |= bool(near.any())
        found[number + 1 :] |= near
    return float(found.mean())
