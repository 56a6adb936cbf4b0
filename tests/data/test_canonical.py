from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from poseshift.data import canonical
from poseshift.data.archives import ZipImages
from poseshift.data.decoding import Decoded, decoded
from poseshift.data.images import ImageFiles
from poseshift.types import ByteArray


def scene(width: int, height: int, coarse: int = 3) -> ByteArray:
    """Smooth waves, of about ``40·coarse`` pixels, and a ramp."""
    y, x = (np.mgrid[:height, :width] + 0.5) / coarse
    waves = [60 * np.cos(x / 6 + channel) * np.sin(y / (5 + channel)) for channel in range(3)]
    return np.stack([128 + wave + 40 * x * coarse / width for wave in waves], -1).round().astype(np.uint8)


def opened(pixels: ByteArray, most: int) -> Decoded:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    with Image.open(file) as image:
        return decoded(image, most)


@pytest.mark.parametrize(
    ("side", "times"), [(10, 1), (63.9, 1), (64, 2), (127.9, 2), (128, 4), (255, 4), (256, 8), (9e5, 8)]
)
def test_an_image_is_never_coarser_than_the_frame(side: float, times: int) -> None:
    regions = np.array([[-7.5, 3, side - 7.5, side + 3]], np.float32)
    assert canonical.finer(regions, 32).tolist() == [times]


@settings(max_examples=25, deadline=None)
@given(
    times=st.sampled_from([2, 4, 8]),
    extent=st.tuples(st.integers(200, 480), st.integers(200, 480)),
    size=st.integers(32, 60),
    zoom=st.floats(1.01, 1.9),
    place=st.tuples(st.floats(-0.2, 0.8), st.floats(-0.2, 0.8)),
)
def test_a_crop_of_a_smaller_image_shows_the_same(
    times: int, extent: tuple[int, int], size: int, zoom: float, place: tuple[float, float]
) -> None:
    """To 5 of 255 grey values but beside the image's rim, and to a fifth of what half a pixel more would do."""
    pixels = scene(*extent, coarse=times)
    whole, small = opened(pixels, 1), opened(pixels, times)
    x, y = (part * side for part, side in zip(place, extent, strict=True))
    region = np.array([x, y, x + times * size * zoom, y + times * size * zoom], np.float32)
    assert canonical.finer(region[None], size).tolist() == [times] == [small.by]
    shown = ((whole, region), (small, region), (whole, region + times / 2), (np.full_like(pixels, 255), region))
    one, other, moved, white = (
        canonical.cut(image, there, size=size, margin=size // 8).astype(int) for image, there in shown
    )
    inside = ndimage.binary_erosion(white[..., 0] == 255, iterations=2)
    assume(inside.sum() > 50)
    assert np.abs(one - other)[inside].max() <= 5
    assert np.abs(one - other)[inside].mean() < np.abs(one - moved)[inside].mean() / 5


def test_files_and_archives_come_smaller_alike(tmp_path: Path) -> None:
    Image.fromarray(scene(320, 240)).save(tmp_path / "a.jpg")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "a.jpg")
    region = np.array([-0.5, -0.5, 319.5, 319.5], np.float32)
    file = ImageFiles(root=tmp_path, paths=("a.jpg",))
    member = ZipImages(path=tmp_path / "all.zip", members=("a.jpg",))
    found = [canonical.decoded(images, 0, region, size=100) for images in (file, member)]
    assert [image.by for image in found] == [2, 2]
    np.testing.assert_array_equal(found[0].pixels, found[1].pixels)
    assert canonical.decoded(file, 0, region, size=161).by == 1
