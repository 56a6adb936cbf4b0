import csv
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.apps.predict import made
from tests.apps.predict.films import film

from poseshift.apps.predict import Asked, estimate
from poseshift.apps.predict.estimator import Looks
from poseshift.apps.predict.inputs import open_inputs


def test_frames_and_times_stand_beside_the_file(tmp_path: Path) -> None:
    entries = [film(tmp_path / "a.mp4", [0, 3, 20]), *tiny.photos(tmp_path / "photos", 1)]
    result = estimate(made.Moves(), Asked(open_inputs(entries), out=tmp_path / "out.csv"), Looks())
    with (tmp_path / "out.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head[:4] == ["file", "frame", "time", "right_ankle_x"]
    assert [row[:2] for row in rows] == [*[[str(entries[0]), str(n)] for n in range(3)], [str(entries[1]), ""]]
    assert [float(row[2]) for row in rows[:3]] == pytest.approx([0, 0.03, 0.2], abs=2e-3)
    assert rows[3][2] == ""
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), result.triples.reshape(4, -1), atol=6e-4)


def test_individuals_have_their_id(tmp_path: Path) -> None:
    made.of_two(tmp_path, out=tmp_path / "out.csv", format="table")
    with (tmp_path / "out.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head[:4] == ["file", "frame", "time", "id"]
    assert [row[3] for row in rows] == ["left one", "other, one", "other, one"]
