"""Square crop regions from annotations: where an instance is looked at."""

from __future__ import annotations

from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from poseshift.errors import DataError, UsageError
from poseshift.types import NOT_LABELLED, Annotations, FloatArray, Images

BoxMode = Literal["given", "from_keypoints", "whole"]
MINIMUM_SIDE = 8.0
"""Pixels; a region from a single keypoint would otherwise have no area."""


@runtime_checkable
class SizedImages(Protocol):
    """Images whose size is known without decoding them."""

    def size(self, index: int) -> tuple[int, int]:
        """``(width, height)`` of image ``index``."""


def crop_regions(annotations: Annotations, mode: BoxMode, *, padding: float = 1.25) -> FloatArray:
    """A square region for each instance, ``N×4`` float32 corners; regions may leave the image.

    Args:
        annotations: ``N`` instances.
        mode: ``given``: the annotation's box; ``from_keypoints``: the bounding box of the labelled keypoints (both
            made square about their centre by the longer side, times ``padding``); ``whole``: the whole image, square
            by its long side, centred (LSP's ResizePad), without padding.
        padding: Factor on the side, > 0. Ignored by ``whole``.

    Raises:
        UsageError: Unknown mode, or padding not above 0.
        DataError: An instance has no box (``given``) or no labelled keypoint (``from_keypoints``); says which.
    """
    if mode not in get_args(BoxMode):
        raise UsageError(f"boxes: {mode!r} is not a mode; expected one of {', '.join(get_args(BoxMode))}")
    if not padding > 0:
        raise UsageError(f"boxes: padding {padding} is not above 0; 1 keeps the box, 1.25 adds an eighth on each side")
    if mode == "whole":
        return squares(_image_boxes(annotations.images, annotations.image_index), 1.0)
    return squares(_given(annotations) if mode == "given" else _around_keypoints(annotations), padding)


def squares(boxes: FloatArray, padding: float) -> FloatArray:
    """The squares about the centres of ``boxes`` (``N×4``) with ``padding`` times their longer side, ``N×4``."""
    corners = boxes.astype(np.float64)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]).max(axis=1, keepdims=True, initial=MINIMUM_SIDE) * (padding / 2)
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _refuse(annotations: Annotations, bad: np.ndarray[tuple[int], np.dtype[np.bool_]], what: str, remedy: str) -> None:
    """Raise where any instance is ``bad``, naming the first one."""
    if bad.any():
        first = annotations[int(np.argmax(bad))]
        raise DataError(
            f"{annotations.name}: {int(bad.sum())} of {len(annotations)} instances have {what}, the first in "
            f"{first.key!r}; {remedy}"
        )


def _given(annotations: Annotations) -> FloatArray:
    boxes = annotations.boxes
    finite = np.isfinite(boxes).all(axis=1)
    bad = ~finite | (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    _refuse(annotations, bad, "no box", "give boxes in the annotations, or use boxes: from_keypoints or whole")
    return boxes


def _around_keypoints(annotations: Annotations) -> FloatArray:
    labelled = (annotations.visible != NOT_LABELLED)[..., None]
    _refuse(annotations, ~labelled.any(axis=(1, 2)), "no labelled keypoint", "drop them, or use boxes: given or whole")
    low = np.where(labelled, annotations.keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(labelled, annotations.keypoints, -np.inf).max(axis=1, initial=-np.inf)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def _image_boxes(images: Images, image_index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
    """The outline of each instance's image, ``N×4``; each image's header is read once."""
    used, back = np.unique(image_index, return_inverse=True)
    sizes = np.array([_size(images, int(i)) for i in used], np.float32).reshape(-1, 2)
    corner = np.full((len(used), 2), -0.5, np.float32)
    return np.concatenate([corner, sizes - 0.5], axis=1)[back]


def _size(images: Images, index: int) -> tuple[int, int]:
    """Width and height; a stand-in for a header that cannot be read, since decoding it fails, and is counted, later."""
    try:
        return _readable_size(images, index)
    except DataError:
        return (int(MINIMUM_SIDE), int(MINIMUM_SIDE))


def _readable_size(images: Images, index: int) -> tuple[int, int]:
    if isinstance(images, SizedImages):
        return images.size(index)
    height, width = images.read(index).shape[:2]
    return width, height
