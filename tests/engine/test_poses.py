from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from poseshift.engine import poses
from poseshift.engine.run import Run
from poseshift.errors import CheckpointError

SQUARE = torch.tensor([[[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]]])


@given(st.floats(0.6, 4), st.floats(-50, 50), st.floats(-50, 50))
def test_a_normalised_pose_knows_neither_place_nor_size(scale: float, x: float, y: float) -> None:
    one = poses.normalise(SQUARE, side=64)
    other = poses.normalise(SQUARE * scale + torch.tensor([x, y]), side=64)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert one.mean(1).abs().max() < 1e-6
    assert float(one.square().sum(-1).mean()) == pytest.approx(1)


def test_keypoints_on_one_spot_are_no_pose_blown_up() -> None:
    """Without a least size, noise of a hundredth of a pixel would look like any pose."""
    spot = SQUARE * 0.001 + 20
    assert poses.normalise(spot, side=64).abs().max() < 0.01
    far = poses.distance(poses.normalise(spot, side=64), poses.normalise(SQUARE, side=64))
    assert float(far) == pytest.approx(1, abs=0.01)


def test_the_distance_is_that_of_the_nearest_pose() -> None:
    """Against a slow count; a keypoint that the known poses lack is not looked at."""
    torch.manual_seed(0)
    found, known = torch.rand(5, 4, 2), torch.rand(7, 4, 2)
    known[:, 2] = torch.nan
    kept = [0, 1, 3]
    expected = [min(float(((one[kept] - other[kept]) ** 2).sum(-1).mean().sqrt()) for other in known) for one in found]
    assert poses.distance(found, known).tolist() == pytest.approx(expected, rel=1e-5)
    assert poses.distance(known[:2].nan_to_num(9.0), known).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_poses_of_labels_are_whole_few_and_spread() -> None:
    points = np.random.default_rng(0).uniform(0, 64, (4001, 5, 2)).astype(np.float32)
    visible = np.full((4001, 5), 2, np.uint8)
    visible[:, 1] = 0  # nobody has it
    visible[0, 3], visible[1:2000, 4] = 0, 1  # one lacks what the others have; what is occluded is labelled
    found = poses.of_labels(points, visible, size=64)
    assert found.shape == (2000, 5, 2)
    assert np.isnan(found[:, 1]).all()
    assert not np.isnan(np.delete(found, 1, axis=1)).any()
    points[:, 1] = np.nan
    ends = poses.normalise(torch.from_numpy(points[[1, 4000]]), side=64).numpy()
    np.testing.assert_allclose(found[[0, -1]], ends, rtol=1e-5)


@pytest.mark.parametrize("visible", [np.zeros((3, 2), np.uint8), np.zeros((0, 2), np.uint8)])
def test_without_labels_there_are_no_poses(visible: np.ndarray) -> None:
    assert len(poses.of_labels(np.zeros((len(visible), 2, 2), np.float32), visible, size=64)) == 0


def test_a_run_with_a_source_keeps_its_poses(finished: Run) -> None:
    known = poses.of_run(finished.path, None)
    assert known is not None
    assert known.shape == (16, len(finished.skeleton), 2)
    assert (finished.path / poses.FILE).stat().st_size < 10_000


def test_a_run_without_a_source_has_those_of_its_init(finished: Run, tmp_path: Path) -> None:
    first = tiny.run(tmp_path / "first", "shot", {"source": None, "init": str(finished.path), "steps": 2})
    second = tiny.run(tmp_path / "second", "shot", {"source": None, "init": str(first.path), "steps": 2})
    for run in (first, second):
        assert not (run.path / poses.FILE).exists()
        assert (run.path / "parents/init" / poses.FILE).read_bytes() == (finished.path / poses.FILE).read_bytes()
        assert "plausibility" in run.checkpoint("last").info["scores"]


def test_a_style_run_has_none(parents: dict[str, Run]) -> None:
    assert poses.file_of(parents["style"].path) is None
    assert poses.of_run(parents["style"].path, None) is None


def test_a_damaged_file_is_told_of_in_one_line(tmp_path: Path) -> None:
    (tmp_path / poses.FILE).write_bytes(b"no poses")
    with pytest.raises(CheckpointError, match=r"source-poses\.npy: no poses of a source") as told:
        poses.of_run(tmp_path, None)
    assert "\n" not in str(told.value)
