from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poseshift.data.images import ImageFiles
from poseshift.data.mirrored import WithMirrored
from poseshift.errors import DataError


def test_each_file_is_there_twice_the_second_time_mirrored(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 3), dtype=np.uint8)
    for name, image in zip("ab", pixels, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    images = pickle.loads(  # noqa: S301 - loader workers do so
        pickle.dumps(WithMirrored(files=ImageFiles(root=tmp_path, paths=("a.png", "b.png"))))
    )
    assert [images.key(i) for i in range(len(images))] == ["a.png", "b.png", "a.png (mirrored)", "b.png (mirrored)"]
    for i in range(2):
        np.testing.assert_array_equal(images.read(i), pixels[i])
        np.testing.assert_array_equal(images.read(2 + i), pixels[i][:, ::-1])
        assert images.size(2 + i) == (8, 5)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        images.read(3)
