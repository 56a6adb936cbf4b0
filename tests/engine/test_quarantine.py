"""The list of files that did not decode, over an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny

from poseshift.data import sources
from poseshift.data.crops import CropConfig, Crops
from poseshift.engine.quarantine import Quarantined, lines
from poseshift.errors import DataError


@pytest.fixture
def crops(tmp_path: Path) -> Crops:
    photos = tiny.photos(tmp_path / "photos", 200, size=(20, 16))
    for photo in photos[3:6]:
        photo.write_bytes(photo.read_bytes()[:40])
    return Crops(sources.read(f"images:{tmp_path / 'photos'}", split=None), CropConfig(boxes="whole"), size=32)


def test_the_limit_holds_over_an_interruption(tmp_path: Path, crops: Crops) -> None:
    first = Quarantined(tmp_path, {"target": crops})
    first.add("target", [3, 4])  # one per cent of 200
    key = crops.annotations[3].key
    assert lines(tmp_path)[0] == f"{key}\tdoes not decode\ttarget"
    again = Quarantined(tmp_path, {"target": crops})
    with pytest.raises(DataError, match="3 of 200 images do not decode, at most 2 may be skipped"):
        again.add("target", [5])
    assert len(lines(tmp_path)) == 3


def test_a_mended_file_is_forgotten(tmp_path: Path, crops: Crops) -> None:
    with pytest.raises(DataError):
        Quarantined(tmp_path, {"target": crops}).add("target", [3, 4, 5])
    whole = tmp_path / "photos" / Path(crops.annotations[0].key).name
    (tmp_path / "photos" / Path(crops.annotations[3].key).name).write_bytes(whole.read_bytes())
    again = Quarantined(tmp_path, {"target": crops})
    assert len(again.found["target"]) == 2
    again.add("target", [4])


def test_no_list_no_lines(tmp_path: Path, crops: Crops) -> None:
    assert lines(tmp_path) == []
    assert len(Quarantined(tmp_path, {"target": crops}).found["target"]) == 0
