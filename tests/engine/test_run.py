import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests import tiny

from poseshift import config
from poseshift.engine import run as runs
from poseshift.engine.evaluate import evaluate
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.errors import CheckpointError, UsageError
from poseshift.version import __version__


def steps(run: Run) -> list[int]:
    return [one.step for one in run.checkpoints()]


def test_what_a_run_folder_holds(finished: Run) -> None:
    there = {path.name for path in finished.path.iterdir()}
    files = {"run.yaml", "manifest.json", "metrics.jsonl", "log.txt", "source-poses.npy"}
    assert there == {*files, "checkpoints", "trust"}
    assert "source_only, steps 0 to 6 on cpu" in (finished.path / "log.txt").read_text()
    assert {path.name for path in finished.checkpoints_path.iterdir()} == {"step-4", "step-6", "last", "best"}
    assert finished.finished
    assert finished.makes_pose_net


def test_the_manifest_says_what_ran(finished: Run) -> None:
    manifest = finished.manifest
    assert manifest["schema"] == runs.SCHEMA
    assert manifest["version"] == __version__
    assert manifest["torch"] == torch.__version__
    assert (manifest["command"], manifest["outcome"], manifest["device"]) == ("test", "finished", "cpu")
    assert manifest["start"] <= manifest["end"]
    assert (manifest["uses_target_labels"], manifest["selection"]) == ("no", "last checkpoint")
    assert set(manifest["data"]) == {"source"}
    assert len(manifest["data"]["source"]) == 64
    assert manifest["skeleton"]["keypoints"] == list(finished.skeleton.keypoints)
    assert manifest["parents"] == {}
    assert "boxes: whole" in manifest["notes"]["source"]


def test_the_skeleton_comes_back(finished: Run) -> None:
    from poseshift.data.skeletons import SKELETONS

    assert finished.skeleton == SKELETONS["lsp"]
    assert finished.skeleton.flip_index == SKELETONS["lsp"].flip_index


def test_run_yaml_repeats_the_run(finished: Run, tmp_path: Path) -> None:
    again = train(config.parse(config.load(finished.path / "run.yaml")), tmp_path / "again", quiet=True)
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(finished))
    assert tiny.lines(again) == tiny.lines(finished)


def test_a_finished_run_is_left_alone(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    again = train(tiny.settings(), run.path, quiet=True)
    assert again.path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


def test_a_run_of_another_configuration_is_never_overwritten(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    with pytest.raises(UsageError, match="another configuration") as caught:
        train(tiny.settings(change={"steps": 8, "optimiser": {"rate": 0.5}}), run.path, quiet=True)
    assert "steps is 6 there, 8 now" in str(caught.value)
    assert "optimiser.rate is 0.002 there, 0.5 now" in str(caught.value)
    assert tiny.same_tensors(tiny.weights(run), tiny.weights(finished))


@pytest.mark.parametrize("kind", ["file", "folder of others", "folder with a hidden file"])
def test_a_folder_of_something_else_is_not_touched(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / (".mine" if "hidden" in kind else "mine")).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="exists and is no unfinished run"):
        train(tiny.settings(), out, quiet=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_being_made_when_its_process_died_is_made_again(finished: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "parents" / "init").mkdir(parents=True)
    (out / "run.yaml").write_text("half")
    run = train(tiny.settings(change={"steps": 2}), out, quiet=True)
    assert run.finished


@pytest.mark.parametrize("file", ["run.yaml", "manifest.json"])
def test_a_process_that_died_in_its_first_write_leaves_no_obstacle(file: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / f".{file}.4711").write_text("half")
    assert train(tiny.settings(change={"steps": 2}), out, quiet=True).finished
    assert not list(out.glob(".*.4711"))


def test_no_folder_is_left_where_the_nets_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a style net"):
        train(tiny.settings("uniframe"), tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match=r"model\.weights"):
        train(tiny.settings(change={"model": {"weights": "nothing.safetensors"}}), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_pointers(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    assert (run.checkpoint("last").step, run.checkpoint("best").step, run.checkpoint(4).step) == (6, 6, 4)
    run.point("best", run.checkpoint(4))
    assert run.checkpoint("best").step == 4
    assert (run.checkpoints_path / "best").read_text() == "step-4\n"
    with pytest.raises(CheckpointError, match=r"step-5: no such checkpoint; this run has steps \[4, 6\]"):
        run.checkpoint(5)
    (run.checkpoints_path / "best").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint 'best' yet"):
        run.checkpoint("best")


def test_prune_keeps_best_last_and_the_newest_two(tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", change={"steps": 5, "save_every": 1})
    assert steps(run) == [4, 5]
    for step in (1, 2, 3):
        shutil.copytree(run.checkpoints_path / "step-5", run.checkpoints_path / f"step-{step}")
    run.point("best", run.checkpoint(1))
    run.point("last", run.checkpoint(2))
    (run.checkpoints_path / "step-x").mkdir()
    run.prune()
    assert steps(run) == [1, 2, 4, 5]
    run.prune()
    assert steps(run) == [1, 2, 4, 5]


def test_no_run_folder_is_said_so(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run folder"):
        open_run(tmp_path / "nothing")
    shutil.copytree(finished.path, tmp_path / "mine" / "adapt")
    with pytest.raises(CheckpointError, match=r"it holds the runs \['adapt'\], name one of them"):
        open_run(tmp_path / "mine")


def test_a_newer_schema_names_the_version_that_is_needed(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    file = run.path / "manifest.json"
    file.write_text(json.dumps({**run.manifest, "schema": runs.SCHEMA + 1, "version": "7.8.9"}))
    with pytest.raises(CheckpointError, match=r"schema 2, this version reads up to 1; install poseshift 7\.8\.9"):
        open_run(run.path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "x"}', '{"schema": 1, "outcome": "finished"}', "\x00"])
def test_a_broken_manifest_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json: .*restore it from a copy") as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_without_a_pose_net_says_so(parents: dict[str, Run]) -> None:
    assert not parents["style"].makes_pose_net
    with pytest.raises(UsageError, match="a run of 'style' has no pose net"):
        parents["style"].predictor("last")


def test_one_folder_suffices(parents: dict[str, Run], tmp_path: Path) -> None:
    """The parents' folders are gone; the run is gone on with, evaluated and predicted with."""
    from poseshift.apps.predict import predict

    for name in ("style", "init"):
        shutil.copytree(parents[name].path, tmp_path / name)
    change = {"init": str(tmp_path / "init"), "style": str(tmp_path / "style"), "steps": 4}
    whole = tiny.run(tmp_path / "whole", "multilevel", change)
    part = shutil.copytree(whole.path, tmp_path / "part")
    for left in ("step-4", "last", "best"):
        path = part / "checkpoints" / left
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("style", "init", "whole"):
        (tmp_path / name).rename(tmp_path / f"gone-{name}")
    run = open_run(part)
    run.note(outcome="running")

    again = train(tiny.settings("multilevel", change), part, quiet=True)
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(open_run(tmp_path / "gone-whole")))
    assert evaluate(again, tiny.TARGET, split="test")["instances"] == 12
    photos = tiny.photos(tmp_path / "photos", 2)
    instances, found = predict(again, photos)
    assert (len(instances), found.keypoints.shape) == (2, (2, 14, 2))


def test_the_parents_are_in_the_manifest(parents: dict[str, Run], tmp_path: Path) -> None:
    from poseshift.engine import checkpoint

    run = tiny.run(
        tmp_path / "run",
        "uniframe",
        {"init": str(parents["init"].path), "style": str(parents["style"].path), "steps": 1},
    )
    said = run.manifest["parents"]
    assert said["init"]["run"] == str(parents["init"].path)
    assert said["init"]["step"] == 6
    copied = run.path / "parents" / "init" / "predictor.safetensors"
    assert said["init"]["sha256"] == checkpoint.digest(copied)
    assert said["style"]["uses_target_labels"] == "no"
