import json
from pathlib import Path

import pytest

from poseshift.apps import info
from poseshift.data.formats import FORMATS
from poseshift.engine.run import Run
from poseshift.errors import CheckpointError
from poseshift.methods import METHODS
from poseshift.version import __version__


def test_this_installation() -> None:
    found = info.installation()
    assert found["poseshift"] == __version__
    assert found["devices"][0] == "cpu"
    assert found["formats"] == list(FORMATS)
    assert found["methods"] == list(METHODS)
    assert found["skeletons"]["lsp"] == 14
    assert set(found["packages"]) >= {"torch", "timm", "lightning-fabric"}
    json.dumps(found, allow_nan=False)


def test_a_run(finished: Run) -> None:
    found = info.run_summary(finished.path)
    assert (found["method"], found["steps"], found["outcome"]) == ("source_only", 2, "finished")
    assert (found["uses_target_labels"], found["command"]) == ("no", "test")
    assert found["checkpoints"] == {"step-2": {}}
    assert found["best"] == "step-2"
    assert len(found["keypoints"]) == 14
    assert found["model"]["width"] == 16
    json.dumps(found, allow_nan=False)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run folder"):
        info.run_summary(tmp_path)


def test_text_has_no_python_in_it(finished: Run) -> None:
    for found in (info.installation(), info.run_summary(finished.path)):
        text = info.text(found)
        assert not set(text) & set("{}[]")
        assert "None" not in text
    assert "checkpoints:\n  step-2\nbest: step-2\n" in text
    assert "  width: 16\n" in text


def test_scores_stand_below_one_another() -> None:
    checkpoints = {
        "step-0": {"agreement": 50.3627},
        "step-200": {"agreement": 7.0, "validation": None, "entropy": 1.25},
    }
    assert info.text({"checkpoints": checkpoints}).splitlines() == [
        "checkpoints:",
        "            agreement  validation  entropy",
        "  step-0         50.4           –        –",
        "  step-200        7.0           –      1.2",
    ]
