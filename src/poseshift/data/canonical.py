"""The canonical frame: the square of ``size`` pixels in which a net sees an instance, and the way back; no torch."""

from __future__ import annotations

from poseshift.data.images import padded_crop
from poseshift.types import ByteArray, FloatArray


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


def cut(image: ByteArray, region: FloatArray, *, size: int, margin: int = 0) -> ByteArray:
    """What a net is shown of an image.

    Args:
        image: ``H×W×3`` RGB, uint8.
        region: ``4``: corners of a square in image pixels; it may leave the image.
        size: Side of the canonical frame, pixels.
        margin: Canonical pixels beyond it on each side.

    Returns:
        ``S×S×3`` uint8 with ``S = size + 2·margin``; black where the image has nothing.

    Raises:
        DataError: The region has no area, or is far larger than the image.
    """
    side = size + 2 * margin
    grow = margin / scale(region[None], size)[0]
    x0, y0, x1, y1 = region
    crop, _ = padded_crop(image, (x0 - grow, y0 - grow, x1 + grow, y1 + grow), (side, side))
    return crop
