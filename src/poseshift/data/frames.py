"""Which target images follow each other in time: a fact of the images, not of their labels."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from poseshift.types import Annotations, IntArray


@runtime_checkable
class Filmed(Protocol):
    """Images that are frames of videos."""

    def moments(self, images: IntArray) -> tuple[IntArray, IntArray]:
        """``N`` numbers of videos and ``N`` numbers of frames in them, of ``N`` images."""


def previous(annotations: Annotations) -> IntArray:
    """The row of the same subject in the frame before, ``N`` numbers; -1 where there is none.

    The frame before is the nearest earlier one of the same video that is among the annotations, however long ago. Where
    a frame shows several subjects, nothing says who is who, so its rows have no neighbours.
    """
    found = np.full(len(annotations), -1, np.int64)
    if not isinstance(annotations.images, Filmed):
        return found
    videos, frames = annotations.images.moments(annotations.image_index)
    order = np.lexsort((frames, videos))
    alone = np.bincount(annotations.image_index, minlength=1)[annotations.image_index] == 1
    one, next_one = order[:-1], order[1:]
    linked = (videos[one] == videos[next_one]) & alone[one] & alone[next_one]
    found[next_one[linked]] = one[linked]
    return found
