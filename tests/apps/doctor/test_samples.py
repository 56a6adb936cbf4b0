from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny

from poseshift.apps.doctor import samples
from poseshift.data import formats
from poseshift.data.crops import CropConfig, Crops
from poseshift.errors import DataError


def test_crops_are_those_of_training() -> None:
    data = formats.read("figures:plain,side=48,count=30")
    sample = samples.draw(data, CropConfig(), size=32, count=8, seed=0, role="source")
    cut = Crops(data, CropConfig(), size=32)
    assert (sample.boxes, len(sample), sample.drawn) == ("given", 8, 8)
    for number, row in enumerate(sample.rows.tolist()):
        np.testing.assert_array_equal(sample.crops[number], cut[row].pixels)
    np.testing.assert_array_equal(sample.regions, cut.regions[sample.rows])


def test_the_choice_depends_on_seed_and_role_alone() -> None:
    data = formats.read("figures:plain,side=48,count=30")

    def rows(seed: int, role: str) -> list[int]:
        return samples.draw(data, CropConfig(), size=32, count=6, seed=seed, role=role).rows.tolist()

    assert rows(0, "source") == rows(0, "source") == sorted(rows(0, "source"))
    assert len({tuple(rows(0, "source")), tuple(rows(1, "source")), tuple(rows(0, "target"))}) == 3


def test_a_window_is_what_shows_the_image(tmp_path: Path) -> None:
    """An image of 60×30 in a square crop of 40: 20 rows in the middle, the outer two blended with black."""
    Image.new("RGB", (60, 30), (200, 200, 200)).save(tmp_path / "wide.png")
    sample = samples.draw(formats.read(f"images:{tmp_path}"), CropConfig(), size=40, count=9, seed=0, role="target")
    assert sample.windows.tolist() == [[0, 11, 40, 29]]
    assert sample.shown.tolist() == [0.5]
    assert (sample.pixels(0) == 200).all()
    assert (sample.crops[0, [10, 29]] < 200).all()


def test_a_small_image_is_blended_further(tmp_path: Path) -> None:
    """Ten times enlarged, half of an image's pixel at each end is part black."""
    Image.new("RGB", (8, 4), (200, 200, 200)).save(tmp_path / "small.png")
    sample = samples.draw(formats.read(f"images:{tmp_path}"), CropConfig(), size=80, count=9, seed=0, role="target")
    assert sample.windows.tolist() == [[0, 25, 80, 55]]
    assert (sample.pixels(0) == 200).all()


def test_images_that_do_not_decode_are_counted(tmp_path: Path) -> None:
    files = tiny.photos(tmp_path / "photos", 5)
    files[3].write_bytes(b"no image")
    data = formats.read(f"images:{tmp_path / 'photos'}")
    done: list[int] = []
    sample = samples.draw(data, CropConfig(), size=32, count=9, seed=0, role="target", advance=done.append)
    assert (len(sample), sample.drawn, sum(done)) == (4, 5, 5)
    assert sample.rows.tolist() == [0, 1, 2, 4]
    ((name, reason),) = sample.unreadable.items()
    assert name.startswith("photo03.jpg")
    assert "does not decode" in reason


def test_not_one_image(tmp_path: Path) -> None:
    (file,) = tiny.photos(tmp_path / "photos", 1)
    file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"target: none of 1 images decodes, the first: .*photo00\.jpg"):
        samples.draw(formats.read(f"images:{file.parent}"), CropConfig(), size=32, count=9, seed=0, role="target")


def test_groups_are_numbered() -> None:
    data = formats.read("figures:plain,side=48,count=4")
    data = replace(data, groups=np.array(["b", "a", "b", "c"]))
    sample = samples.draw(data, CropConfig(), size=32, count=4, seed=0, role="source")
    assert sample.groups.tolist() == [1, 0, 1, 2]
