"""Rules 5 and 6: target labels reach neither training nor selection. Every method, the whole engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny

from poseshift.batches import Batch, SourceBatch, TargetBatch, View
from poseshift.data import sources
from poseshift.engine import setup
from poseshift.engine.run import Run
from poseshift.methods import METHODS
from poseshift.types import Annotations

TARGET = "figures:middle,side=48,count=10"


def shuffled(found: Annotations) -> Annotations:
    order = np.random.default_rng(0).permutation(len(found))
    return dataclasses.replace(found, keypoints=found.keypoints[order][:, ::-1].copy(), visible=found.visible[order])


def without_numbers(found: Annotations) -> Annotations:
    return dataclasses.replace(
        found, keypoints=np.full_like(found.keypoints, np.nan), visible=np.full_like(found.visible, 2)
    )


POSES = {name for name, method in METHODS.items() if method.makes == "pose net"}
STARTS = {"style", "source_only", "pose_prior"}
"""Methods that start from nothing; all others adapt what these made."""

CHANGES: dict[str, Callable[[Annotations], Annotations]] = {"shuffled": shuffled, "NaN": without_numbers}


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parents")
    made = {
        "style": tiny.run(folder / "style", "style", {"steps": 1}),
        "init": tiny.run(folder / "init", change={"steps": 1}),
        "prior": tiny.run(folder / "prior", "pose_prior", {"steps": 1}),
    }
    return {name: str(run.path) for name, run in made.items()}


@pytest.fixture(scope="module")
def plain(change: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run of each method with the target's own labels."""
    folder, made = tmp_path_factory.mktemp("plain"), dict[str, Run]()

    def of(method: str) -> Run:
        if method not in made:
            made[method] = run(folder / method, method, change)
        return made[method]

    return of


def run(folder: Path, method: str, change: dict[str, str], more: dict[str, Any] | None = None) -> Run:
    adapting = change if method not in STARTS else {}
    options = {"target": {"data": TARGET}, "steps": 4, **adapting, **(more or {})}
    if method == "source_only":
        options |= {"style": change["style"], "method": {"stylise": True, "style_probability": 1.0}}
    return tiny.run(folder, method, options)


def with_labels(monkeypatch: pytest.MonkeyPatch, changed: Callable[[Annotations], Annotations]) -> list[str]:
    """The target's reader gives other labels; returns what was read, so that a test can see that it took effect."""
    read, seen = sources.read, list[str]()

    def reading(spec: str, **options: Any) -> Annotations:
        found = read(spec, **options)
        if spec != TARGET:
            return found
        other = changed(found)
        assert not np.array_equal(other.keypoints, found.keypoints)
        seen.append(spec)
        return other

    monkeypatch.setattr(setup.sources, "read", reading)
    return seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", CHANGES)
def test_other_target_labels_change_no_bit(
    method: str, kind: str, change: dict[str, str], plain: Callable[[str], Run], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    expected = plain(method)
    seen = with_labels(monkeypatch, CHANGES[kind])
    found = run(tmp_path / "run", method, change)
    assert seen
    assert tiny.same_tensors(tiny.weights(found), tiny.weights(expected))
    assert tiny.lines(found) == tiny.lines(expected)
    assert found.checkpoint("best").step == expected.checkpoint("best").step
    assert found.manifest.get("negative_transfer") == expected.manifest.get("negative_transfer")
    assert found.manifest["data"] == expected.manifest["data"]
    for step in (2, 4):  # calibration and collapse
        assert found.trust(f"step-{step}") == expected.trust(f"step-{step}")
    assert (expected.trust("step-4") is None) == (expected.manifest.get("trust") is None) == (method not in POSES)


def test_target_images_do_reach_training(change: dict[str, str], plain: Callable[[str], Run], tmp_path: Path) -> None:
    """So that the test above can fail: other images change the weights."""
    for method in ("style", "source_only", "multilevel"):
        found = run(tmp_path / method, method, change, {"target": {"data": "figures:middle,side=48,count=10,seed=5"}})
        assert not tiny.same_tensors(tiny.weights(found), tiny.weights(plain(method)))


def test_monitoring_changes_no_bit_and_is_said(
    change: dict[str, str], plain: Callable[[str], Run], tmp_path: Path
) -> None:
    expected = plain("multilevel")
    monitor = {"monitor": {"data": TARGET, "split": "test", "boxes": "whole"}}
    found = run(tmp_path / "run", "multilevel", change, monitor)
    assert tiny.same_tensors(tiny.weights(found), tiny.weights(expected))
    assert found.checkpoint("best").step == expected.checkpoint("best").step
    assert found.manifest["uses_target_labels"] == "monitoring only"
    assert expected.manifest["uses_target_labels"] == "no"
    assert "monitor" in found.checkpoint("best").info["scores"]
    assert "monitor" not in expected.checkpoint("best").info["scores"]


def test_monitoring_does_not_select(change: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agreement falls while the monitored score rises: agreement chooses."""
    from poseshift.engine import label_free, scoring

    said = iter([tiny.scored(agreement=value) for value in (1.0, 3.0, 2.0)])
    monitored = iter([0.0, 10.0, 90.0])
    monkeypatch.setattr(label_free, "label_free", lambda *args: next(said))
    monkeypatch.setattr(scoring, "_mean_pck", lambda *args: next(monitored))
    monitor = {"monitor": {"data": TARGET, "split": "test", "boxes": "whole"}}
    found = run(tmp_path / "run", "multilevel", change, monitor)
    assert found.checkpoint("best").step == 2
    assert found.manifest["selection"].startswith("label-free")


LABELS = ("keypoint", "visible", "label", "joint", "annotation")


def test_the_types_of_a_target_hold_no_label() -> None:
    fields = [field.name for kind in (TargetBatch, View) for field in dataclasses.fields(kind)]
    assert not [name for name in fields if any(word in name for word in LABELS)]
    assert {field.name for field in dataclasses.fields(SourceBatch)} >= {"keypoints", "visible"}
    public = [name for name in dir(Batch) if not name.startswith("_")]
    assert public == ["has", "source", "target"]


def test_what_a_target_stream_is_made_of_holds_no_label() -> None:
    """Not even behind the batch: the crops that are read have none."""
    data = setup.data_of(tiny.settings("multilevel"))
    assert data.target is not None
    annotations = data.target.annotations
    assert annotations.keypoints.size == annotations.visible.size == data.target.keypoints.size == 0
    assert len(annotations.skeleton) == 0
    assert len(annotations) == 12


def test_selection_with_labels_must_be_asked_for_by_name() -> None:
    from typing import get_args

    from poseshift.config import RunConfig
    from poseshift.engine import select
    from poseshift.engine.label_free import LabelFree
    from poseshift.errors import ConfigError

    rules = get_args(RunConfig.model_fields["selection"].annotation)
    assert set(rules) == {"label-free", "last", *select.BETTER}
    assert set(select.BETTER) == {field.name for field in dataclasses.fields(LabelFree)} | {"validation"}
    assert RunConfig.model_fields["selection"].default == "label-free"
    assert RunConfig.model_fields["oracle"].default is False
    with pytest.raises(ConfigError, match="selection"):
        tiny.settings(change={"selection": "monitor"})
