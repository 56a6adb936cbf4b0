import json
from pathlib import Path

import yaml

from poseshift.apps.export.provenance import metadata
from poseshift.engine import checkpoint, trust
from poseshift.engine.parents import LICENCES, licences_of
from poseshift.engine.run import Run, open_run
from poseshift.version import __version__


def test_what_a_model_says_of_itself(trained: Run) -> None:
    chosen = trained.checkpoint("best")
    known = trust.calibration_of(trained)
    assert known is not None
    texts = metadata(trained, chosen, flip_test=True, calibration=known, quantised=None)
    said = {name: json.loads(text) for name, text in texts.items()}
    assert (said["poseshift"], said["version"], said["run"], said["step"]) == (1, __version__, "trained", chosen.step)
    assert said["names"] == list(trained.skeleton.keypoints)
    assert [tuple(pair) for pair in said["flip_pairs"]] == list(trained.skeleton.flip_pairs)
    assert [tuple(pair) for pair in said["edges"]] == list(trained.skeleton.edges)
    assert (said["input_size"], said["stride"], said["cut"], said["padding"]) == (32, 4, "whole", 1.25)
    assert (said["flip_test"], said["calibrated"], said["quantised"]) == (True, True, None)
    assert said["calibration"]["slope"] == known.slope
    assert said["sha256"] == checkpoint.digest(chosen.path / "predictor.safetensors")
    assert said["data"] == trained.manifest["data"]
    assert said["selection"] == trained.manifest["selection"]
    assert said["uses_target_labels"] == "no"
    assert said["trained_by"]["commit"] == trained.manifest["commit"]
    assert said["licence"] == ["no initial weights"]
    assert (said["method"], said["backbone"]) == ("source_only", "small")
    raw = metadata(trained, chosen, flip_test=False, calibration=None, quantised="int8")
    assert [raw[name] for name in ("flip_test", "calibrated", "calibration", "quantised")] == [
        "false",
        "false",
        "null",
        '"int8"',
    ]


def test_no_path_of_this_machine_goes_along(trained: Run) -> None:
    parents = {"init": {"run": "/home/someone/runs/source", "step": 3, "sha256": "ab"}}
    kept = trained.manifest["parents"]
    trained.note(parents=parents)
    try:
        texts = metadata(trained, trained.checkpoint(), flip_test=False, calibration=None, quantised=None)
    finally:
        trained.note(parents=kept)
    assert json.loads(texts["parents"])["init"] == {"run": "source", "step": 3, "sha256": "ab"}
    assert "someone" not in json.dumps(texts)


def test_a_run_of_an_earlier_version_is_asked_for_its_files(trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    start = folder / "parents" / "init"
    start.mkdir(parents=True)
    for name in ("run.yaml", "manifest.json"):
        (folder / name).write_text((trained.path / name).read_text())
    raw = yaml.safe_load((folder / "run.yaml").read_text())
    raw["model"] |= {"backbone": "mobilenetv2_100", "weights": "pretrained"}
    (start / "run.yaml").write_text(yaml.safe_dump(raw))
    run = open_run(folder)
    assert licences_of(run) == ["no initial weights"], "what was recorded when the run began"
    run.note(**{LICENCES: None})
    first, second = licences_of(run)
    assert first.startswith("mobilenetv2_100.")
    assert first.endswith("of timm: apache-2.0")
    assert second == "no initial weights"
