import logging
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict.films import Greys, film, number_of

from poseshift.apps.predict import Asked, estimate
from poseshift.apps.predict.collected import looks_at
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import Inputs, open_inputs
from poseshift.data.detections import read_boxes
from poseshift.errors import DataError


def test_rows_are_in_the_order_of_the_boxes_whatever_the_order_of_the_frames(tmp_path: Path) -> None:
    inputs = open_inputs([film(tmp_path / "a.mp4", range(12))])
    frames = [9, 2, 9, 0, 5, 2]
    lines = [f"a.mp4,{frame},20,12,40,30" for frame in frames]
    (tmp_path / "boxes.csv").write_text("\n".join(["file,frame,x,y,width,height", *lines]))
    asked = Asked(inputs, boxes=tmp_path / "boxes.csv")
    told: list[int] = []
    result = estimate(Greys(), asked, Looks(batch_size=3, padding=1.0), expect=told.append, advance=told.append)
    assert [number_of(score) for score in result.predictions.scores[:, 0]] == frames
    assert result.instances.image_index.tolist() == frames
    assert result.predictions.crop_side.tolist() == [40] * 6
    assert (told[0], sum(told[1:])) == (6, 6)
    seen = list(looks_at(inputs, read_boxes(tmp_path / "boxes.csv", inputs), every=True))
    assert [one.image for one in seen] == list(range(12))
    assert [len(one.rows) for one in seen] == [1, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0, 0]


def test_frames_that_do_not_decode_keep_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = film(tmp_path / "a.mkv", range(12))
    inputs = open_inputs([path])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with caplog.at_level(logging.WARNING):
        result = estimate(Greys(), Asked(inputs, out=tmp_path / "out.csv"), Looks(batch_size=4))
    lost = list(result.failures)
    assert 0 < len(lost) < 12
    assert f"{len(lost)} frames do not decode and have no prediction: {path}#{lost[0]:06d}" in caplog.text
    assert len(result.instances) == 12
    assert result.predictions.count == 12 - len(lost)
    assert (result.predictions.scores[lost] == 0).all()
    assert (result.predictions.crop_side == 64).all()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3 + 12


def test_nothing_that_decodes_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", range(4))
    inputs = open_inputs([path])
    path.write_bytes(path.read_bytes()[:300])
    asked = Asked(inputs, out=tmp_path / "out.csv", overlay=tmp_path / "out.mp4")
    with pytest.raises(DataError, match=r"none of the 4 frames decodes; the last: video .*does not decode"):
        estimate(Greys(), asked, Looks())
    assert [one.name for one in tmp_path.iterdir()] == ["a.mkv"]


def test_images_of_a_box_that_do_not_decode_keep_their_row(tmp_path: Path) -> None:
    photos = tiny.photos(tmp_path, 3)
    photos[1].write_bytes(b"no image")
    (tmp_path / "boxes.csv").write_text(
        "file,x,y,width,height\n" + "".join(f"photo0{n}.jpg,1,2,20,10\n" for n in range(3))
    )
    result = estimate(Greys(), Asked(open_inputs(photos), boxes=tmp_path / "boxes.csv"), Looks())
    assert np.isnan(result.predictions.keypoints).any(axis=(1, 2)).tolist() == [False, True, False]
    assert result.predictions.crop_side.tolist() == [25] * 3


def test_a_size_that_is_asked_for_is_that_of_the_inputs(tmp_path: Path) -> None:
    inputs = open_inputs(tiny.photos(tmp_path, 2))
    result = estimate(Greys(), Asked(inputs), Looks())
    assert isinstance(result.instances.images, Inputs)
    assert result.instances.boxes.tolist() == [[-0.5, -0.5, 51.5, 39.5]] * 2
    assert result.instances.groups.tolist() == ["1", "2"]
