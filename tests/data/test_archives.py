from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poseshift.data.archives import ZipImages, decode_image, image_size
from poseshift.errors import DataError, FormatError


def encoded(suffix: str = "JPEG", orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, suffix, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_pixels(orientation: int) -> None:
    content = encoded(orientation=orientation)
    width, height = image_size(content, "x")
    assert decode_image(content, "x").shape == (height, width, 3)
    assert (width > height) == (orientation < 5)


@pytest.mark.parametrize("content", [b"", b"no image", encoded()[:30]])
def test_what_has_no_header_is_our_error(content: bytes) -> None:
    with pytest.raises(DataError, match=r"image 'x' does not decode"):
        image_size(content, "x")


def test_a_member_is_given_as_it_is(tmp_path: Path) -> None:
    content = encoded("PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.png", content)
    images = ZipImages(path=tmp_path / "a.zip", members=("in/a.png", "in/b.png"))
    assert images.encoded(0) == content
    np.testing.assert_array_equal(images.read(0), decode_image(content, "x"))
    with pytest.raises(DataError, match=r"has no member 'in/b\.png'"):
        images.encoded(1)


def test_a_compression_that_python_lacks_is_our_error(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", b"content")
    raw = bytearray(file.read_bytes())
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        raw[raw.index(header) + offset] = 97  # WavPack
    file.write_bytes(bytes(raw))
    with pytest.raises(FormatError, match=r"a\.zip': member 'a\.png' is damaged \(.*compression"):
        ZipImages(path=file, members=("a.png",)).encoded(0)
