from pathlib import Path

import pytest
from tests import tiny
from tests.apps.predict.films import Greys

from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.speed import Speed, measure


def test_the_halves_and_the_whole_are_measured_side_by_side(tmp_path: Path) -> None:
    tiny.photos(tmp_path / "photos", 5)
    told: list[int] = []
    net = Greys()
    found = measure(net, Looks(batch_size=2), told.append, [tmp_path / "photos"], tmp_path / "out.csv", repeats=3)
    assert told == [2, 5, 5, 5]
    assert sum(len(crops) for crops in net.asked) == 15
    assert found.images == 5
    assert min(found.forward, found.decoding, found.end_to_end) > 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6


def test_shares_are_of_the_net_and_of_the_slower_half() -> None:
    speed = Speed(images=10, forward=100.0, decoding=50.0, end_to_end=45.0)
    assert (speed.of_forward, speed.of_slower) == (pytest.approx(0.45), pytest.approx(0.9))
