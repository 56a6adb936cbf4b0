import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny
from tests.apps.test_exported import model

import poseshift
from poseshift.errors import DataError, UsageError

NO_TORCH = """
import sys
heavy = ("torch", "torchvision", "timm", "lightning_fabric", "safetensors", "onnx", "onnxscript")
sys.modules.update(dict.fromkeys(heavy))
from poseshift import cli
cli.main()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(model())
    return path


def test_it_needs_no_torch(file: Path, tmp_path: Path) -> None:
    tiny.photos(tmp_path / "photos", 3)
    done = tiny.python(NO_TORCH, "predict", "m.onnx", "photos", "--out", "p.json", cwd=tmp_path)
    assert done.stdout == "3 instances: p.json; scores are calibrated\n", done.stderr
    assert "training cut by boxes, so give --boxes" in done.stderr
    results = json.loads((tmp_path / "p.json").read_text())
    assert [one["keypoints"][2::3] for one in results] == [[0.25, 0.5, 0.75]] * 3
    run = tiny.python(NO_TORCH, "predict", "photos", "photos", cwd=tmp_path)
    assert run.returncode == 2
    assert (
        run.stderr
        == "poseshift: photos: a run needs torch, which is not installed; install it, or give an exported .onnx\n"
    )


def test_boxes_are_padded_as_in_training(file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tiny.photos(tmp_path / "photos", 1)
    boxes = {
        "images": [{"id": 1, "file_name": "photo00.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [10, 10, 20, 12]}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    said = poseshift.predict(file, photos, boxes=tmp_path / "boxes.json", out=tmp_path / "p.csv")[1]
    assert said.crop_side.tolist() == [30]
    assert not caplog.messages
    assert (tmp_path / "p.csv").read_text().startswith("file,left_eye_x,")
    assert said.calibrated


def test_what_does_not_decode_has_no_prediction(file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tiny.photos(tmp_path / "photos", 3)
    half = photos[1].read_bytes()
    photos[1].write_bytes(half[: len(half) * 9 // 10])
    counted: list[int] = []
    _, said = poseshift.predict(file, photos, advance=counted.append)
    assert "1 images do not decode and have no prediction" in caplog.text
    assert np.isnan(said.keypoints[1]).all()
    assert (said.scores[1] == 0).all()
    assert np.isfinite(said.keypoints[[0, 2]]).all()
    assert (said.count, sum(counted)) == (2, 3)
    with pytest.raises(DataError, match="none of the 1 images decodes"):
        poseshift.predict(file, photos[1:2])


@pytest.mark.parametrize(
    "option", [{"which": "last"}, {"flip_test": True}, {"adapt": "statistics"}, {"raw_scores": True}]
)
def test_what_was_decided_at_export(file: Path, tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not for exported models"):
        poseshift.predict(file, tiny.photos(tmp_path / "photos", 1), **option)


def test_raw_scores_are_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "raw.onnx").write_bytes(model(calibrated=False, cut="whole"))
    with caplog.at_level(logging.WARNING):
        _, said = poseshift.predict(tmp_path / "raw.onnx", tiny.photos(tmp_path / "photos", 1))
    assert not said.calibrated
    assert "exported without calibration" in caplog.text
    assert "training cut by boxes" not in caplog.text
