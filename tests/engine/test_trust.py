"""What a run says of its own scores and poses, from training to the folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import tiny
from torch import nn

from poseshift.config import RunConfig
from poseshift.engine import setup, trust
from poseshift.engine.run import Run
from poseshift.engine.trust import Examiner, calibrate, calibration_of
from poseshift.errors import CheckpointError, DataError, UsageError
from poseshift.models.pose_net import PoseNet, PoseOutput
from poseshift.ops import heatmaps

VALIDATION = {"data": tiny.SOURCE, "split": "val", "boxes": "whole"}
ENOUGH = {
    "source": {"data": "figures:plain,side=48,count=2000", "boxes": "whole"},
    "target": {"data": "figures:middle,side=48,count=40", "boxes": "whole"},
    "agreement_images": 40,
}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    change = {"method": {"levels": []}, "validation": VALIDATION}
    return tiny.run(tmp_path_factory.mktemp("adapted") / "run", "multilevel", change)


def test_every_checkpoint_is_examined(adapted: Run) -> None:
    examined = [adapted.trust(f"step-{step}") for step in (2, 4, 6)]
    assert all(one is not None for one in examined)
    last = examined[-1] or {}
    assert (last["step"], last["nets"]) == (6, "predictor and student")
    assert last["calibration"]["held"] == "validation"
    assert 0 < last["calibration"]["expected"] < 1
    assert set(last["collapse"]) == {"one_place", "mean_pose", "exchanged_sides"}
    assert adapted.trust("reference") is not None
    lines = [line for line in adapted.metrics() if "collapse" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    known = {name: one["value"] for name, one in last["collapse"].items() if one["value"] is not None}
    assert lines[-1]["collapse"] == known


def test_the_manifest_says_what_is_known_of_the_best(adapted: Run) -> None:
    said = adapted.manifest["trust"]
    best = adapted.trust(f"step-{adapted.checkpoint('best').step}") or {}
    assert said["step"] == best["step"]
    assert said["calibrated_on"] == "validation"
    assert said["expected"] == best["calibration"]["expected"]
    assert said["collapse"] == [name for name, one in best["collapse"].items() if one["found"]]


def test_calibrating_anew_gives_the_same_numbers(adapted: Run, copy_of: Callable[[Run], Run]) -> None:
    again = copy_of(adapted)
    expected = again.trust("step-6")
    (again.path / "trust" / "step-6.json").unlink()
    found = calibrate(again, which=6, device="cpu")
    assert again.trust("step-6") == expected
    assert calibration_of(again, 6) == found
    assert found.held == "validation"


def test_a_run_of_an_earlier_version_has_none_until_it_is_asked_for(
    finished: Run, copy_of: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = copy_of(finished)
    for file in (old.path / "trust").iterdir():
        file.unlink()
    assert calibration_of(old) is None
    assert trust.noted(old) == {}

    def refused(self: nn.Module, state: object) -> None:
        raise RuntimeError("other names")

    monkeypatch.setattr("poseshift.methods.source_only.SourceOnly.load_state_dict", refused)
    with caplog.at_level(logging.INFO):
        found = calibrate(old, device="cpu")
    assert "the predictor stands in for the student, which cannot be restored: other names" in caplog.text
    assert (old.trust(f"step-{old.checkpoint('best').step}") or {})["nets"] == "predictor alone"
    assert found.held == "source"
    assert old.manifest["trust"]["calibrated_on"] == "source"


def test_a_source_free_run_takes_what_its_start_knows(finished: Run, tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", "shot", {"source": None, "init": str(finished.path)})
    parent, found = calibration_of(finished, "last"), calibration_of(run)
    assert parent is not None
    assert found is not None
    assert found.held == "start"
    assert (found.slope, found.intercept) == (parent.slope, parent.intercept)
    assert found.right_source == parent.right_source
    start = Run(run.path / "parents" / "init").trust("start") or {}
    assert start["reference"] == finished.trust("reference")
    assert (run.trust("step-6") or {})["collapse"]["one_place"]["value"] is not None


def test_a_source_free_run_whose_start_was_not_examined_has_no_calibration(
    finished: Run, copy_of: Callable[[Run], Run], tmp_path: Path
) -> None:
    old = copy_of(finished)
    for file in (old.path / "trust").iterdir():
        file.unlink()
    run = tiny.run(tmp_path / "run", "shot", {"source": None, "init": str(old.path)})
    assert calibration_of(run) is None
    with pytest.raises(DataError, match="the run that it started from was not calibrated"):
        calibrate(run, device="cpu")


def test_a_style_run_is_not_examined(tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", "style", {"steps": 2})
    assert run.trust("step-2") is None
    assert "trust" not in run.manifest
    with pytest.raises(UsageError, match="no pose net"):
        calibrate(run)


def test_a_broken_file_is_refused(adapted: Run, copy_of: Callable[[Run], Run]) -> None:
    broken = copy_of(adapted)
    file = broken.path / "trust" / f"step-{broken.checkpoint('best').step}.json"
    file.write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot be read .* then `poseshift calibrate`"):
        calibration_of(broken)
    file.write_text(json.dumps({"calibration": {"slope": 1}}))
    with pytest.raises(CheckpointError, match="no calibration"):
        calibration_of(broken)


def test_a_target_cut_by_its_labels_is_not_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Source-only training may name one; its scores are then calibrated for the source."""
    with caplog.at_level(logging.INFO):
        run = tiny.run(tmp_path / "run", change={"target": {"boxes": "from_keypoints"}, "steps": 2})
    assert "scores are not calibrated for the target: target.boxes: from_keypoints reads target labels" in caplog.text
    found = calibration_of(run)
    assert found is not None
    assert (found.shift, found.expected) == (0.0, None)


class Collapsed(PoseNet):
    """Says what ``points`` says of the picture's number in the batch, ``N×K×2`` in pixels of the input."""

    def __init__(self, config: RunConfig, points: np.ndarray) -> None:
        super().__init__(config.model, points.shape[1])
        self.points, self.shown = torch.from_numpy(points), 0

    def forward(self, images: torch.Tensor) -> PoseOutput:
        rows = torch.arange(self.shown, self.shown + len(images)) % len(self.points)
        self.shown += len(images)
        size = (images.shape[-2] // self.stride, images.shape[-1] // self.stride)
        points = self.points[rows]
        maps, _ = heatmaps.encode(points, torch.ones(points.shape[:2]), size, stride=self.stride, sigma=1.0)
        return PoseOutput(maps, maps)


@pytest.fixture(scope="module")
def people() -> tuple[RunConfig, setup.Data, np.ndarray]:
    """A run's data with enough poses, and the true poses of its 40 target images in pixels of the input."""
    config = tiny.settings("multilevel", {**ENOUGH, "method": {"levels": []}})
    data = setup.data_of(config)
    labelled = setup.data_of(tiny.settings(change={"source": ENOUGH["target"]})).source
    assert labelled is not None
    return config, data, labelled.keypoints


def examined(people: tuple[RunConfig, setup.Data, np.ndarray], points: np.ndarray, folder: Path) -> dict[str, Any]:
    config, data, _ = people
    net = Collapsed(config, points.astype(np.float32)).eval()
    Examiner(data, config, Run(folder)).examine(net, net, step=7)
    return Run(folder).trust("step-7") or {}


def exchanged(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    out = points.copy()
    for left, right in pairs:
        out[:, left], out[:, right] = points[:, right], points[:, left]
    return out


@pytest.mark.parametrize("kind", ["healthy", "one_place", "mean_pose", "exchanged_sides"])
def test_each_collapse_of_a_net_is_warned_of_with_examples(
    kind: str, people: tuple[RunConfig, setup.Data, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, data, truth = people
    points = {
        "healthy": truth,
        "one_place": np.full_like(truth, 16.0),
        "mean_pose": np.repeat(truth.mean(0, keepdims=True), len(truth), 0),
        "exchanged_sides": exchanged(truth, data.skeleton.flip_pairs),
    }[kind]
    found = examined(people, points, tmp_path)
    named = [name for name, one in found["collapse"].items() if one["found"]]
    assert named == ([] if kind == "healthy" else [kind])
    assert list(found["examples"]) == named
    assert ("step 7: collapsed predictions on the target" in caplog.text) == (kind != "healthy")
    for one in (one for rows in found["examples"].values() for one in rows):
        assert np.shape(one["keypoints"]) == (14, 2)
        assert data.target is not None
        assert one["image"] == data.target.annotations[one["row"]].key
    if kind == "mean_pose":
        assert "the mean pose whatever the image" in caplog.text


def test_a_net_with_nothing_but_its_bias_is_a_mean_pose(
    people: tuple[RunConfig, setup.Data, np.ndarray], tmp_path: Path
) -> None:
    """Heatmaps that are the mean of the source's: what training a bias alone ends with."""
    config, data, _ = people
    assert data.source is not None
    size = (8, 8)
    drawn, _ = heatmaps.encode(
        torch.from_numpy(data.source.keypoints), torch.ones(data.source.keypoints.shape[:2]), size, stride=4, sigma=1.0
    )
    mean = drawn.mean(0, keepdim=True)

    class Bias(PoseNet):
        def forward(self, images: torch.Tensor) -> PoseOutput:
            maps = mean.expand(len(images), -1, -1, -1)
            return PoseOutput(maps, maps)

    net = Bias(config.model, mean.shape[1]).eval()
    Examiner(data, config, Run(tmp_path)).examine(net, net, step=1)
    found = Run(tmp_path).trust("step-1") or {}
    assert [name for name, one in found["collapse"].items() if one["found"]] == ["mean_pose"]
    assert found["collapse"]["mean_pose"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_net_that_says_nothing_finite_stops_no_run(
    people: tuple[RunConfig, setup.Data, np.ndarray], tmp_path: Path
) -> None:
    config, data, _ = people

    class Broken(PoseNet):
        def forward(self, images: torch.Tensor) -> PoseOutput:
            maps = torch.full((len(images), 14, 8, 8), torch.nan)
            return PoseOutput(maps, maps)

    net = Broken(config.model, 14).eval()
    Examiner(data, config, Run(tmp_path)).examine(net, net, step=1)
    found = Run(tmp_path).trust("step-1") or {}
    assert found["calibration"] is None
    assert found["collapse"] == {}
