from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

from poseshift.engine.parents import LICENCES, licences_of, parent_method
from poseshift.engine.run import Run
from poseshift.engine.train import train
from poseshift.errors import UsageError
from poseshift.models import weights


def test_init_starts_from_the_parents_net(parents: dict[str, Run], change: dict[str, str], tmp_path: Path) -> None:
    settings = tiny.settings(
        "uniframe", {**change, "optimiser": {"rate": 1e-30}, "steps": 1, "method": {"ema_decay": 0}}
    )
    run = train(settings, tmp_path / "run", quiet=True)
    parent, child = tiny.weights(parents["init"], "predictor"), tiny.weights(run, "predictor")
    trained = [key for key in parent if key.endswith("weight")]
    assert all((parent[key] - child[key]).abs().max() < 1e-6 for key in trained)
    other = tiny.run(tmp_path / "other", "multilevel", {"steps": 1, "method": {"levels": []}})
    assert any((parent[key] - tiny.weights(other, "predictor")[key]).abs().max() > 1e-3 for key in trained)


def test_init_is_what_the_parent_chose(parents: dict[str, Run], change: dict[str, str], tmp_path: Path) -> None:
    """Where a guard preferred the start, or another checkpoint, a child does not start from what was refused."""
    adapted = train(tiny.settings("uniframe", {**change, "steps": 2, "save_every": 1}), tmp_path / "one", quiet=True)
    start = adapted.checkpoints()[0]
    adapted.point("best", start)
    child = train(tiny.settings("source_only", {"init": str(adapted.path), "steps": 1}), tmp_path / "child", quiet=True)
    assert start.step != adapted.checkpoint("last").step
    assert child.manifest["parents"]["init"]["step"] == start.step


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("source_only", {"init": "style"}, r"init: a run of 'style' makes no pose net; give a run of a method that"),
        ("source_only", {"prior": "init"}, r"prior: a run of 'source_only' makes no pose prior; give a run of"),
        ("uniframe", {"style": "prior"}, "style: a run of 'pose_prior' makes no style net"),
        ("source_only", {"init": "init", "model": {"width": 24}}, "holds another net than `model` describes"),
        ("uniframe", {"style": "init"}, "style: a run of 'source_only' makes no style net"),
        ("uniframe", {}, "method 'uniframe' needs a style net"),
        ("multilevel", {}, "'image' needs a style net"),
        ("source_only", {"method": {"stylise": True}}, r"method\.stylise: no style net"),
    ],
)
def test_a_parent_that_does_not_fit(
    method: str, given: dict[str, Any], words: str, parents: dict[str, Run], tmp_path: Path
) -> None:
    named = {key: str(parents[value].path) if isinstance(value, str) else value for key, value in given.items()}
    with pytest.raises(UsageError, match=words) as caught:
        tiny.run(tmp_path / "run", method, named)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_prior_is_read_from_the_run_folder(parents: dict[str, Run], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(parents["prior"].path, tmp_path / "prior"))
    run = tiny.run(tmp_path / "run", change={"prior": str(copied), "steps": 1})
    shutil.rmtree(copied)
    assert run.manifest["parents"]["prior"]["step"] == 2
    assert {path.name for path in (run.path / "parents" / "prior").iterdir()} == {"run.yaml", "method.safetensors"}
    method = parent_method(run, "prior", len(run.skeleton))
    assert method is not None
    assert parent_method(run, "style", len(run.skeleton)) is None
    wanted = tiny.weights(parents["prior"])
    assert method.pose_prior is not None
    for name, tensor in method.pose_prior.state_dict().items():
        assert torch.equal(tensor, wanted[f"prior.{name}"])


def test_a_prior_of_other_keypoints_is_refused(parents: dict[str, Run], tmp_path: Path) -> None:
    names = ["left_ankle", "root", "tip"]
    tiny.coco(tmp_path / "source.json", tiny.photos(tmp_path / "photos", 4), names)
    change = {"source": {"data": f"coco:{tmp_path / 'source.json'}"}, "target": None, "steps": 1}
    said = f"prior: keypoint 0 of {parents['prior'].path} is right_ankle, of this run left_ankle; train the prior"
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        tiny.run(tmp_path / "run", change={**change, "prior": str(parents["prior"].path)})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_parent_is_refused(parents: dict[str, Run], tmp_path: Path) -> None:
    copied = Run(shutil.copytree(parents["init"].path, tmp_path / "parent"))
    copied.note(outcome="interrupted at step 4")
    with pytest.raises(UsageError, match=r"init: .*parent is not finished; run its training command again"):
        tiny.run(tmp_path / "run", change={"init": str(copied.path)})


def test_oracle_is_written_down_and_inherited(tmp_path: Path) -> None:
    oracle = tiny.run(
        tmp_path / "oracle", change={"source": {"data": tiny.TARGET}, "oracle": True, "steps": 1, "save_every": 1}
    )
    assert oracle.manifest["uses_target_labels"] == "yes: oracle"
    child = tiny.run(tmp_path / "child", change={"init": str(oracle.path), "steps": 1})
    assert child.manifest["uses_target_labels"] == "yes: oracle"
    assert child.manifest["parents"]["init"]["uses_target_labels"] == "yes: oracle"


def test_licences_are_recorded_when_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child takes over what its start recorded, whatever has become of the files since."""
    monkeypatch.setattr(weights, "licence_of", lambda name, source: f"{name}.safetensors: CC0")
    start = tiny.run(tmp_path / "start", change={"steps": 1})
    assert start.manifest[LICENCES] == ["small.safetensors: CC0"]
    monkeypatch.setattr(weights, "licence_of", lambda name, source: "no initial weights")
    child = tiny.run(tmp_path / "child", change={"steps": 1, "init": str(start.path)})
    assert child.manifest[LICENCES] == ["small.safetensors: CC0", "no initial weights"]
    assert licences_of(child) == child.manifest[LICENCES]
