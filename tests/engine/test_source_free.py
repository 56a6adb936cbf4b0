"""A method that needs no source: trained without one, and blind to one that is named."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests import tiny

from poseshift.data import formats
from poseshift.engine import setup
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import train
from poseshift.errors import ConfigError

METHOD = "shot"
ALONE: dict[str, Any] = {"source": None}
MISSING = {"data": "coco:no-such-folder/labels.json", "boxes": "whole"}


@pytest.fixture(scope="module")
def init(finished: Run) -> dict[str, str]:
    return {"init": str(finished.path)}


@pytest.fixture(scope="module")
def alone(init: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(tmp_path_factory.mktemp("alone") / "run", METHOD, {**ALONE, **init})


def test_it_trains_without_a_source(alone: Run, finished: Run) -> None:
    assert alone.finished
    assert alone.config.source is None
    assert set(alone.manifest["data"]) == {"target"}
    assert alone.skeleton == finished.skeleton
    before, after = tiny.weights(finished, "predictor"), tiny.weights(alone, "predictor")
    still = {name for name, tensor in before.items() if tiny.same_tensors({name: tensor}, {name: after[name]})}
    assert {"final.weight", "final.bias"} <= still
    assert any(name.startswith("backbone.") for name in before.keys() - still)


def test_without_init_one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^init: the method 'shot' adapts a trained net .* give `init: RUN`") as told:
        tiny.run(tmp_path / "run", METHOD, ALONE)
    assert "\n" not in str(told.value)
    file = tiny.write_config(tmp_path / "config.yaml", METHOD, ALONE)
    assert tiny.call(monkeypatch, "train", file, "--out", tmp_path / "run") == 2
    assert not (tmp_path / "run").exists()


def test_nothing_of_a_source_that_is_named_is_opened(
    alone: Run, init: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its annotations nor its images, and its held-out part no more: they could as well not be there."""
    opened: list[str] = []
    for name in ("read", "read_unlabelled"):
        real = getattr(formats, name)

        def watched(spec: str, real: Any = real, **options: Any) -> Any:
            opened.append(spec)
            return real(spec, **options)

        monkeypatch.setattr(formats, name, watched)
    with caplog.at_level(logging.INFO):
        found = tiny.run(tmp_path / "run", METHOD, {"source": MISSING, "validation": MISSING, **init})
    assert set(opened) == {tiny.TARGET}
    assert "`source` and `validation` stay unopened" in caplog.text
    assert tiny.same_tensors(tiny.weights(found), tiny.weights(alone))
    assert tiny.lines(found) == tiny.lines(alone)


def test_its_batches_hold_no_source(init: dict[str, str]) -> None:
    data = setup.data_of(tiny.settings(METHOD, init))
    assert data.source is None
    assert data.validation is None
    assert data.target is not None


def test_the_keypoints_are_those_of_init_whatever_the_target_names(init: dict[str, str], tmp_path: Path) -> None:
    names = ["tip", "bend", "root"]
    tiny.coco(tmp_path / "target.json", tiny.photos(tmp_path / "target", 4), names)
    target = {"data": f"coco:{tmp_path / 'target.json'}", "boxes": "whole"}
    data = setup.data_of(tiny.settings(METHOD, {**ALONE, **init, "target": target}))
    assert data.skeleton == open_run(init["init"]).skeleton
    assert len(data.skeleton) == 14


@pytest.mark.parametrize("method", ["shot", "maps", "sfdahpe"])
def test_it_goes_on_when_init_is_gone(method: str, init: dict[str, str], tmp_path: Path) -> None:
    """The weights, the names of the keypoints and what the pass over all images found are in the run folder."""
    copied = Path(shutil.copytree(init["init"], tmp_path / "init"))
    settings = tiny.settings(method, {**ALONE, "init": str(copied)})
    run = train(settings, tmp_path / "run", quiet=True)
    expected = {which: tiny.weights(run, which) for which in ("method", "predictor")}
    for step in (4, 6):
        shutil.rmtree(run.path / "checkpoints" / f"step-{step}")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"outcome": "interrupted"}))
    shutil.rmtree(copied)
    again = train(settings, run.path, quiet=True)
    assert again.finished
    assert all(tiny.same_tensors(tiny.weights(again, which), expected[which]) for which in expected)
