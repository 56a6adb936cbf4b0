from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict.films import VARIABLE, film, picture

from poseshift.apps.predict.inputs import open_inputs
from poseshift.errors import DataError
from poseshift.types import Images


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """An image, a video of 12 frames, an image, a video of 3."""
    photos = tiny.photos(tmp_path / "photos", 2)
    return [photos[0], film(tmp_path / "a.mp4"), photos[1], film(tmp_path / "turned.mp4", range(3), degrees=90)]


def test_images_and_videos_in_any_mix_are_numbered_through(mixed: list[Path]) -> None:
    inputs = open_inputs(mixed)
    assert isinstance(inputs, Images)
    assert (len(inputs), inputs.word, inputs.video) == (17, "images and frames", None)
    assert [inputs.place(i) for i in (0, 1, 12, 13, 14, 16)] == [(0, None), (1, 0), (1, 11), (2, None), (3, 0), (3, 2)]
    assert [inputs.key(i) for i in (0, 12, 14)] == [str(mixed[0]), f"{mixed[1]}#000011", f"{mixed[3]}#000000"]
    files, frames, seconds = inputs.moments(np.arange(17))
    assert files.tolist() == [0] + [1] * 12 + [2] + [3] * 3
    assert frames.tolist() == [-1, *range(12), -1, *range(3)]
    np.testing.assert_allclose(seconds[1:13], np.array(VARIABLE) / 100, atol=2e-3)
    assert np.isnan(seconds[[0, 13]]).all()
    assert [inputs.size(i) for i in (0, 1, 14)] == [(52, 40), (64, 48), (48, 64)]
    with pytest.raises(IndexError):
        inputs.key(17)


def test_going_forward_gives_what_reading_gives(mixed: list[Path]) -> None:
    inputs = open_inputs(mixed)
    with inputs.forward() as take:
        loads = [take(index) for index in range(len(inputs))]
        for index, load in enumerate(loads):
            np.testing.assert_array_equal(load(), inputs.read(index))
    turned = np.rot90(picture(1))
    assert np.abs(inputs.read(15).astype(int) - turned).mean() < 6
    with inputs.forward() as take:  # some frames only
        np.testing.assert_array_equal(take(7)(), inputs.read(7))
        np.testing.assert_array_equal(take(16)(), inputs.read(16))


def test_names_mean_images(mixed: list[Path]) -> None:
    inputs = open_inputs(mixed)
    assert inputs.find("photo01.jpg", None) == 13
    assert inputs.find("photo01.jpg", 0) == 13
    assert inputs.find("a.mp4", 3) == 4
    assert inputs.find("a.mp4#000003", None) == 4
    assert inputs.find(str(mixed[3]), 2) == 16
    for name, frame in (("a.mp4", None), ("a.mp4", 12), ("b.mp4", 0), ("photo01.jpg", 1), ("a.mp4#x", None), ("", 0)):
        assert inputs.find(name, frame) is None


def test_globs_and_folders_bring_images_and_videos(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path / "in/deep", 2)
    video = film(tmp_path / "in/b.mp4", range(2))
    assert list(open_inputs([tmp_path / "in"]).files) == [video, *photos]
    assert list(open_inputs([f"{tmp_path}/in/**/*.jpg"]).files) == photos
    assert list(open_inputs([f"{tmp_path}/in/*"]).files) == [video, *photos]
    assert open_inputs([video]).video == video
    odd = tmp_path / "a[1].jpg"
    photos[0].rename(odd)
    assert open_inputs([odd]).files == (odd,)
    with pytest.raises(DataError, match=r"matches no file; check the pattern"):
        open_inputs([f"{tmp_path}/*.png"])


def test_videos_that_cannot_be_read_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = film(tmp_path / "good.mp4", range(3))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:200])
    inputs = open_inputs([tmp_path])
    assert inputs.files == (good,)
    assert len(inputs) == 3
    assert [("left out" in line, "empty.mp4" in line or "cut.mp4" in line) for line in caplog.messages] == [
        (True, True),
        (True, True),
    ]
    good.unlink()
    with pytest.raises(DataError, match=r"none of the 2 videos can be read; the last: .*does not decode"):
        open_inputs([tmp_path])
