from pathlib import Path

import numpy as np
import pytest
from tests.apps.predict import made
from tests.apps.predict.films import LSP
from tests.apps.predict.writers.test_deeplabcut import numbers, rows_of

from poseshift.data.formats import lightning_pose
from poseshift.errors import UsageError

FORMAT = {"format": "lightning_pose"}


def test_three_header_rows_and_a_line_a_frame(tmp_path: Path) -> None:
    result = made.of_video(tmp_path, out=tmp_path / "out.csv", **FORMAT)
    rows = rows_of(tmp_path / "out.csv")
    assert [row[0] for row in rows] == ["scorer", "bodyparts", "coords", "0", "1", "2", "3", "4", "5"]
    np.testing.assert_allclose(numbers(rows[5])[0], result.triples[2], atol=6e-4)


def test_predictions_on_images_read_back_as_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = made.of_images(Path(), out="out.csv", **FORMAT)
    labels = lightning_pose.read("out.csv")
    assert labels.skeleton.keypoints == LSP.keypoints
    assert [record.key for record in labels] == ["photos/photo00.jpg", "photos/photo02.jpg"]
    np.testing.assert_allclose(labels.keypoints, result.predictions.keypoints[[0, 2]], atol=6e-4)


def test_several_instances_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one instance an image, .*write --format deeplabcut"):
        made.of_two(tmp_path, out=tmp_path / "out.csv", **FORMAT)
    with pytest.raises(UsageError, match=r"cannot write \.h5 as lightning_pose; give a name that ends in \.csv"):
        made.of_video(tmp_path, out=tmp_path / "out.h5", **FORMAT)


def test_movement_loads_it(tmp_path: Path) -> None:
    load_poses = pytest.importorskip(
        "movement.io.load_poses", reason="movement is not installed; it brings 1.4 GB and is no part of the extra dev"
    )
    result = made.of_video(tmp_path, out=tmp_path / "out.csv", **FORMAT)
    found = load_poses.from_lp_file(tmp_path / "out.csv", fps=10)
    assert dict(found.sizes) == {"time": 6, "space": 2, "keypoints": 14, "individuals": 1}
    points = found.position.transpose("time", "individuals", "keypoints", "space").values[:, 0]
    np.testing.assert_allclose(points, result.predictions.keypoints, atol=6e-4)
