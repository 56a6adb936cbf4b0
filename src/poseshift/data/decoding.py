"""An opened image as pixels: upright, RGB, and smaller where its decoder can make it so."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from poseshift.types import ByteArray

_ORIENTATION = 0x0112


class Decoded(NamedTuple):
    """Pixels, ``h×w×3`` RGB uint8, and how many times smaller than the image: ``x' = (x + 0.5) / by - 0.5``."""

    pixels: ByteArray
    by: int


def decoded(image: Image.Image, most: int) -> Decoded:
    """An opened image, turned upright by its EXIF orientation.

    Args:
        image: Not loaded yet.
        most: 1, 2, 4 or 8: a JPEG may come that much smaller, which saves most of the work. Where its size is no
            multiple, the last row or column of pixels shows what the encoder filled its blocks with.
    """
    width, by = image.width, most
    if image.getexif().get(_ORIENTATION, 1) != 1:  # the last column may become the first one
        by = math.gcd(most, image.width, image.height)
    if by > 1 and (drafted := image.draft(None, (max(1, width // by), max(1, image.height // by)))):
        by = round(width / drafted[1][2])
    else:
        by = 1
    image.load()
    return Decoded(to_rgb(ImageOps.exif_transpose(image)), by)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """``(width, height)`` of an image after it is turned by its EXIF orientation; reads the header alone."""
    turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def to_rgb(image: Image.Image) -> ByteArray:
    """``H×W×3`` uint8. Sixteen bits keep their high byte, which Pillow's own conversion would clip to white."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "P":
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
