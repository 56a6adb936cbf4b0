"""One graph of a finished run, traced once: that takes seconds, whatever the size of the net."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from poseshift.apps.export import onnx_graph
from poseshift.apps.export.graph import Deployed
from poseshift.engine import trust
from poseshift.engine.run import Run, open_run


@pytest.fixture(scope="session")
def trained(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A calibrated run that tests here may export."""
    folder = tmp_path_factory.mktemp("export") / "trained"
    shutil.copytree(finished.path, folder)
    return open_run(folder)


@pytest.fixture(scope="session")
def graph(trained: Run) -> Any:
    """The ONNX graph of its best checkpoint, with flip test and calibration inside."""
    calibration = trust.calibration_of(trained)
    assert calibration is not None
    deployed = Deployed(
        trained.predictor(), size=32, flip_index=trained.skeleton.flip_index, calibration=calibration
    ).eval()
    return onnx_graph.to_onnx(deployed)


@pytest.fixture
def run(trained: Run, graph: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run, whose graph is not traced again."""
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda deployed: graph)
    return trained
