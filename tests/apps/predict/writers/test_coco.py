import json
from pathlib import Path

import numpy as np
import pytest
from tests.apps.predict import made

from poseshift.apps.predict.writers.coco import identity


def test_frames_have_their_number_and_time_individuals_their_track(tmp_path: Path) -> None:
    result = made.of_two(tmp_path, out=tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    assert [(one["image_id"], one["frame_id"], one["track_id"]) for one in found] == [
        (1, 0, "left one"),
        (1, 0, "other, one"),
        (3, 2, "other, one"),
    ]
    assert [one["time"] for one in found] == pytest.approx([0, 0, 0.04], abs=2e-3)
    assert {one["file_name"] for one in found} == {str(tmp_path / "a.mp4")}
    np.testing.assert_allclose([one["keypoints"] for one in found], result.triples.reshape(3, -1), atol=6e-4)


def test_what_does_not_decode_has_no_result(tmp_path: Path) -> None:
    made.of_images(tmp_path, out=tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    assert [one["image_id"] for one in found] == [1, 3]
    assert all("frame_id" not in one and "track_id" not in one for one in found)


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("0012", "0012"), ("x", "x"), ("٣", "٣"), ("-1", "-1")])
def test_ids_are_as_they_stood_in_the_file(text: str, value: object) -> None:
    assert identity(text) == value
