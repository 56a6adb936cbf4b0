from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poseshift.data.decoding import Decoded, decoded
from poseshift.types import ByteArray

TURNS = {1: 0, 3: 2, 6: 3, 8: 1}
"""EXIF orientation to quarter turns that undo it."""


def scene(width: int, height: int) -> ByteArray:
    """Smooth waves and a ramp."""
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [60 * np.cos(x / 23 + channel) * np.sin(y / (17 + 3 * channel)) for channel in range(3)]
    return np.stack([128 + wave + 40 * x / width for wave in waves], -1).round().astype(np.uint8)


def jpeg(pixels: ByteArray, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", **{"quality": 95, **options})
    file.seek(0)
    return file


def opened(file: io.BytesIO, most: int) -> Decoded:
    with Image.open(file) as image:
        return decoded(image, most)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}], ids=str)
@pytest.mark.parametrize("most", [1, 2, 4, 8])
def test_a_jpeg_comes_smaller_by_what_was_asked_for(most: int, options: dict[str, object]) -> None:
    pixels, by = opened(jpeg(scene(203, 121), **options), most)
    assert by == most
    assert pixels.shape == (-(-121 // most), -(-203 // most), 3)


def test_other_formats_come_as_they_are() -> None:
    file = io.BytesIO()
    Image.fromarray(scene(64, 48)).save(file, "PNG")
    pixels, by = opened(file, 4)
    assert by == 1
    np.testing.assert_array_equal(pixels, scene(64, 48))


@pytest.mark.parametrize("side", [1, 3, 7, 9])
def test_images_of_few_pixels(side: int) -> None:
    for most in (2, 4, 8):
        pixels, by = opened(jpeg(scene(side, 2 * side)), most)
        assert pixels.shape == (-(-2 * side // by), -(-side // by), 3)
        assert by <= most


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(100, 300),
    height=st.integers(100, 300),
    most=st.sampled_from([2, 4, 8]),
    turn=st.sampled_from(sorted(TURNS)),
)
def test_pixels_of_a_smaller_image_lie_where_they_should(width: int, height: int, most: int, turn: int) -> None:
    """Each is the mean of those that it covers, to 1 grey value on average; a pixel beside them it is 2 or more."""
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = scene(width, height)
    pixels, by = opened(jpeg(np.rot90(upright, -TURNS[turn]), exif=exif), most)
    assert by == most or turn != 1
    rows, columns = height // by, width // by
    whole = upright[: rows * by, : columns * by].reshape(rows, by, columns, by, 3).mean((1, 3))
    assert np.abs(whole - pixels[:rows, :columns]).mean() < 1
    assert pixels.shape[:2] == (-(-height // by), -(-width // by))
