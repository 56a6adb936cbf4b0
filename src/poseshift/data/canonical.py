"""The canonical frame: the square of ``size`` pixels in which a net sees an instance, and the way back; no torch."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from poseshift.data.decoding import Decoded
from poseshift.data.images import padded_crop
from poseshift.types import ByteArray, FloatArray, Images, IntArray

SMALLEST = 8
"""Times that a JPEG's decoder makes an image smaller at most."""


@runtime_checkable
class ReducibleImages(Protocol):
    """Images whose decoder may make them smaller."""

    def reduced(self, index: int, most: int) -> Decoded:
        """Image ``index``, smaller as of :func:`poseshift.data.decoding.decoded`."""


def scale(regions: FloatArray, size: int) -> FloatArray:
    """``N`` factors from image pixels to canonical pixels, of squares ``N×4``."""
    factors: FloatArray = (size / (regions[:, 2] - regions[:, 0])).astype("float32")
    return factors


def to_canonical(keypoints: FloatArray, regions: FloatArray, size: int) -> FloatArray:
    """Keypoints ``N×K×2`` from image pixels to canonical pixels."""
    found: FloatArray = ((keypoints - regions[:, None, :2]) * scale(regions, size)[:, None, None] - 0.5).astype(
        "float32"
    )
    return found


def to_image(keypoints: FloatArray, regions: FloatArray, size: int) -> FloatArray:
    """The inverse of :func:`to_canonical`."""
    found: FloatArray = ((keypoints + 0.5) / scale(regions, size)[:, None, None] + regions[:, None, :2]).astype(
        "float32"
    )
    return found


def finer(regions: FloatArray, size: int) -> IntArray:
    """``N`` numbers 1, 2, 4 or 8: how many times smaller an image may come and still be no coarser than the frame."""
    times = np.clip((regions[:, 2] - regions[:, 0]) / size, 1, SMALLEST)
    found: IntArray = 2 ** np.floor(np.log2(times)).astype(np.int64)
    return found


def decoded(images: Images, index: int, region: FloatArray, *, size: int) -> Decoded:
    """Image ``index``, no finer than the canonical frame of ``region`` (``4``) needs it where its decoder can do that.

    Raises:
        DataError: It does not decode.
    """
    if isinstance(images, ReducibleImages):
        return images.reduced(index, int(finer(region[None], size)[0]))
    return Decoded(images.read(index), 1)


def cut(image: ByteArray | Decoded, region: FloatArray, *, size: int, margin: int = 0) -> ByteArray:
    """What a net is shown of an image.

    Args:
        image: ``H×W×3`` RGB, uint8; or smaller than the image that ``region`` is of.
        region: ``4``: corners of a square in image pixels; it may leave the image.
        size: Side of the canonical frame, pixels.
        margin: Canonical pixels beyond it on each side.

    Returns:
        ``S×S×3`` uint8 with ``S = size + 2·margin``; black where the image has nothing.

    Raises:
        DataError: The region has no area, or is far larger than the image.
    """
    pixels, by = image if isinstance(image, Decoded) else (image, 1)
    side = size + 2 * margin
    grow = margin / scale(region[None], size)[0]
    x0, y0, x1, y1 = region
    corners = (x0 - grow, y0 - grow, x1 + grow, y1 + grow)
    if by > 1:
        corners = tuple((corner + 0.5) / by - 0.5 for corner in corners)
    crop, _ = padded_crop(pixels, corners, (side, side))
    return crop
