from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poseshift.apps.bench import predicting
from poseshift.apps.predict.inputs import open_inputs
from poseshift.apps.predict.speed import Speed


def test_pictures_move_and_are_the_same_as_files_and_as_frames(tmp_path: Path) -> None:
    pytest.importorskip("av")
    shown = list(predicting.pictures(3))
    assert shown[0].shape == (480, 640, 3)
    np.testing.assert_array_equal(shown[0][:, 4:], shown[2][:, :-4])
    photos = predicting.folder_of_jpegs(tmp_path / "photos", 3)
    film = open_inputs([predicting.video(tmp_path / "film.mp4", 3)])
    assert len(film) == 3
    for number, file in enumerate(sorted(photos.iterdir())):
        with Image.open(file) as image:
            assert np.abs(np.asarray(image).astype(int) - shown[number]).mean() < 3
        assert np.abs(film.read(number).astype(int) - shown[number]).mean() < 6


def test_the_row_is_the_least_of_four_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def speeds(config: object, size: int, *, images: int, repeats: int) -> dict[str, Speed]:
        asked.append((config, size))
        if len(asked) == 1:  # the deep net: as a share of itself, however slow decoding is
            return {kind: Speed(images=2, forward=10.0, decoding=1.0, end_to_end=9.5) for kind in ("jpeg", "video")}
        slow = Speed(images=2, forward=100.0, decoding=50.0, end_to_end=40.0)
        return {"jpeg": slow, "video": Speed(images=2, forward=40.0, decoding=50.0, end_to_end=39.0)}

    monkeypatch.setattr(predicting, "speeds", speeds)
    found = predicting.measure(quick=False)["predict"]
    assert asked == [(predicting.DEEP, 256), (predicting.LIGHT, 128)]
    assert found.value == pytest.approx(0.8)
    assert found.detail["deep_jpeg_of_net"] == pytest.approx(0.95)
    assert found.detail["light_video_of_slower"] == pytest.approx(39 / 40)
    assert found.detail["light_jpeg_images_per_second"] == "net 100.0, decoding 50.0, predict 40.0"


def test_it_runs_small() -> None:
    pytest.importorskip("av")
    found = predicting.measure(quick=True)["predict"]
    shares = [value for name, value in found.detail.items() if "_of_" in name]
    assert len(shares) == 4
    assert found.value == min(shares)
    assert 0 < found.value < 2
