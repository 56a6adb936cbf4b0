import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import tiny
from tests.data.formats.miniatures import tigdog

from poseshift.config import RunConfig
from poseshift.data import sources
from poseshift.data.skeletons import ANIMAL18, LSP
from poseshift.engine import setup
from poseshift.engine.run import Run
from poseshift.engine.train import train
from poseshift.errors import ConfigError, DataError


def coco_settings(tmp_path: Path, names: list[str], change: dict[str, Any]) -> RunConfig:
    """A source of the given keypoints and a target of three, in files."""
    source = tiny.photos(tmp_path / "source", 4)
    target = tiny.photos(tmp_path / "target", 4, seed=1)
    tiny.coco(tmp_path / "source.json", source, names)
    tiny.coco(tmp_path / "target.json", target, ["tip", "bend", "root"], seed=1)
    data = {
        "source": {"data": f"coco:{tmp_path / 'source.json'}", "boxes": "given"},
        "target": {"data": f"coco:{tmp_path / 'target.json'}", "boxes": "given"},
    }
    return tiny.settings("multilevel", {**data, "method": {"levels": []}, **change})


def test_the_target_has_no_labels_and_names_the_keypoints(tmp_path: Path) -> None:
    data = setup.data_of(coco_settings(tmp_path, ["tip", "bend", "root"], {}))
    assert data.target is not None
    assert data.source is not None
    assert data.skeleton.keypoints == ("tip", "bend", "root")
    assert data.target.annotations.keypoints.shape == (4, 0, 2)
    assert data.target.annotations.visible.shape == (4, 0)
    assert len(data.target.annotations.skeleton) == 0
    assert data.target.keypoints.shape == (4, 0, 2)
    assert data.source.annotations.keypoints.shape == (4, 3, 2)


def test_a_method_without_target_reads_the_names_only() -> None:
    data = setup.data_of(tiny.settings("source_only"))
    assert data.target is None
    assert set(data.fingerprints) == {"source"}
    assert len(data.skeleton) == 14


def test_counts_that_differ_need_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"2 keypoints \['tip', 'elbow'\], expected 3 \['tip', 'bend', 'root'\]"
    ) as caught:
        setup.data_of(coco_settings(tmp_path, ["tip", "elbow"], {}))
    assert "without a partner: ['bend', 'root']" in str(caught.value)
    assert "mapping: {target_name: source_name}" in str(caught.value)


@pytest.mark.parametrize("role", ["target", "source"])
def test_a_mapping_at_either_role_cures_it(role: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = coco_settings(tmp_path, ["tip", "elbow"], {})
    change = {role: getattr(settings, role).model_copy(update={"mapping": {"bend": "elbow"}})}
    with caplog.at_level(logging.WARNING):
        data = setup.data_of(settings.model_copy(update=change))
    assert data.source is not None
    annotations = data.source.annotations
    assert annotations.skeleton.keypoints == ("tip", "bend", "root")
    assert annotations.visible.tolist() == [[2, 2, 0]] * 4
    assert "no partner for root" in caplog.text


def test_a_mid_point_supervises_a_keypoint_that_the_source_lacks(tmp_path: Path) -> None:
    settings = coco_settings(tmp_path, ["tip", "left_hip", "right_hip"], {})
    plain = setup.data_of(settings.model_copy(update={"target": None, "method": tiny.settings().method}))
    change = {"target": settings.target.model_copy(update={"mapping": {"root": ("left_hip", "right_hip")}})}  # type: ignore[union-attr]
    data = setup.data_of(settings.model_copy(update=change))
    assert data.source is not None
    assert plain.source is not None
    hips = plain.source.annotations.keypoints[:, 1:]
    np.testing.assert_array_equal(data.source.annotations.keypoints[:, 2], hips.sum(1) / np.float32(2))
    assert data.source.annotations.visible.tolist() == [[2, 0, 2]] * 4


def test_how_keypoints_were_matched_is_logged_and_written_down(tmp_path: Path) -> None:
    settings = coco_settings(tmp_path, ["tip", "left_hip", "right_hip", "horn"], {"steps": 1})
    change = {"target": settings.target.model_copy(update={"mapping": {"root": ("left_hip", "right_hip")}})}  # type: ignore[union-attr]
    run = train(settings.model_copy(update=change), tmp_path / "run", quiet=True)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    for line in ("tip  ← tip", "bend ← –", "root ← left_hip + right_hip  mid-point", "not used of the source: horn"):
        assert line in log
    assert run.manifest["matching"] == {
        "rows": [["tip", "tip", "same name"], ["bend", "", "none"], ["root", "left_hip + right_hip", "mid-point"]],
        "unused": ["horn"],
    }
    same = tiny.run(tmp_path / "same", change={"steps": 1})
    assert same.manifest["matching"] is None
    assert "←" not in (same.path / "log.txt").read_text(encoding="utf-8")


def test_a_mapping_between_equal_names_exchanges_them(tmp_path: Path) -> None:
    plain = setup.data_of(tiny.settings("multilevel", {"method": {"levels": []}}))
    swapped = {"left_knee": "right_knee", "right_knee": "left_knee"}
    settings = tiny.settings("multilevel", {"method": {"levels": []}, "target": {"mapping": swapped}})
    data = setup.data_of(settings)
    assert plain.source is not None
    assert data.source is not None
    assert data.matched is not None
    left, right = (LSP.keypoints.index(f"{side}_knee") for side in ("left", "right"))
    order = list(range(14))
    order[left], order[right] = right, left
    np.testing.assert_array_equal(data.source.annotations.keypoints, plain.source.annotations.keypoints[:, order])


def test_a_mapping_of_the_source_leaves_equal_names_of_test_data_alone() -> None:
    change = {"target": {"mapping": {"left_knee": "right_knee", "right_knee": "left_knee"}}, "method": {"levels": []}}
    settings = tiny.settings("multilevel", change)
    monitored = setup.data_of(settings.model_copy(update={"monitor": settings.target.model_copy()}))  # type: ignore[union-attr]
    plain = tiny.settings("multilevel", {"method": {"levels": []}})
    without = setup.data_of(plain.model_copy(update={"monitor": plain.target}))
    assert monitored.monitor is not None
    assert without.monitor is not None
    np.testing.assert_array_equal(monitored.monitor.annotations.keypoints, without.monitor.annotations.keypoints)


def test_held_out_source_data_are_mapped_as_the_source_is(tmp_path: Path) -> None:
    settings = coco_settings(tmp_path, ["tip", "elbow"], {})
    source = settings.source.model_copy(update={"mapping": {"bend": "elbow"}})  # type: ignore[union-attr]
    plain = source.model_copy(update={"mapping": {}})
    data = setup.data_of(settings.model_copy(update={"source": source, "validation": plain}))
    assert data.validation is not None
    assert data.validation.annotations.visible.tolist() == [[2, 2, 0]] * 4


def test_more_source_keypoints_than_the_target_wants_are_left_out(tmp_path: Path) -> None:
    data = setup.data_of(coco_settings(tmp_path, ["root", "x", "tip", "y", "bend"], {}))
    assert data.source is not None
    assert data.source.annotations.skeleton.keypoints == ("tip", "bend", "root")


def test_boxes_from_target_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"target\.boxes: from_keypoints reads target labels"):
        setup.data_of(tiny.settings("multilevel", {"target": {"boxes": "from_keypoints"}}))


def test_published_boxes_from_labels_are_asked_for_by_name(tmp_path: Path) -> None:
    target = {"data": f"tigdog:{tigdog.write(tmp_path)}", "split": "train", "boxes": "given"}
    joints = dict(zip(ANIMAL18.keypoints, LSP.keypoints, strict=False))
    options = {"target": {**target, "mapping": joints}, "method": {"levels": []}}
    with pytest.raises(DataError, match=r"3 of 3 instances of tigdog:.* have no box .*`label_boxes: true`"):
        setup.data_of(tiny.settings("multilevel", options))
    data = setup.data_of(tiny.settings("multilevel", {**options, "target": {**options["target"], "label_boxes": True}}))
    assert data.target is not None
    assert data.target.boxes == "given"
    assert data.target.annotations.keypoints.size == 0
    assert data.notes["target"].endswith(sources.LABEL_BOXES)


def test_auto_means_the_same_with_labels_and_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """TigDog's boxes come from labels: a target has none, so its labelled frames are cut whole too."""
    joints = dict(zip(ANIMAL18.keypoints, LSP.keypoints, strict=False))
    frames = {"data": f"tigdog:{tigdog.write(tmp_path)}", "boxes": "auto"}
    options = {"target": {**frames, "split": "train", "mapping": joints}, "monitor": {**frames, "split": "valid"}}
    data = setup.data_of(tiny.settings("multilevel", {**options, "method": {"levels": []}}))
    assert data.cut == {"source": "whole", "target": "whole"}
    assert data.entries["cut"] == data.cut
    assert data.monitor is not None
    assert data.monitor.boxes == "whole"
    assert "cut whole, as the training images were; by itself it would be cut given" in caplog.text


@pytest.mark.parametrize(("method", "role"), [("source_only", "source"), ("multilevel", "target"), ("style", "source")])
def test_a_missing_role_is_named(method: str, role: str) -> None:
    settings = tiny.settings(method).model_copy(update={role: None})
    with pytest.raises(ConfigError, match=rf"{role}: the method '{method}' needs it; give `{role}: "):
        setup.data_of(settings)


def test_fingerprints_and_notes(tmp_path: Path) -> None:
    settings = tiny.settings("multilevel", {"monitor": {"data": tiny.TARGET, "boxes": "whole"}})
    data = setup.data_of(settings)
    assert set(data.fingerprints) == {"source", "target", "monitor"}
    assert data.fingerprints["target"] != data.fingerprints["monitor"], "one of them has no labels"
    assert "boxes: whole" in data.notes["target"]
    assert data.fingerprints == setup.data_of(settings).fingerprints


def test_validation_goes_into_the_runs_skeleton(tmp_path: Path) -> None:
    names = ["bend", "root", "tip"]
    settings = coco_settings(tmp_path, names, {})
    data = setup.data_of(settings.model_copy(update={"validation": settings.source}))
    assert data.validation is not None
    assert data.source is not None
    assert data.validation.annotations.skeleton == data.source.annotations.skeleton
    np.testing.assert_array_equal(data.validation.annotations.keypoints, data.source.annotations.keypoints)
    assert data.validation.margin == 0
    assert data.source.margin == 4


LARGE = "figures:plain,side=32,count=700"


def test_without_validation_a_part_of_the_source_is_held_out() -> None:
    """The same of every run on the same data, whatever its seed; a 20th, since that is less than 256."""
    change = {"source": {"data": LARGE, "boxes": "whole"}}
    found = [setup.data_of(tiny.settings("multilevel", {**change, "seed": seed})) for seed in (0, 1)]
    for data in found:
        assert data.source is not None
        assert data.validation is not None
        assert (len(data.source), len(data.validation)) == (665, 35)
        assert data.validation.margin == 0
        assert not set(data.source.annotations.groups) & set(data.validation.annotations.groups)
    assert found[0].fingerprints == found[1].fingerprints
    assert set(found[0].fingerprints) == {"source", "target", "validation"}


@pytest.mark.parametrize(
    "change",
    [
        {"held_out": 0},
        {"held_out": 31},
        {"source": {"limit": 600}},
        {"validation": {"data": tiny.SOURCE, "split": "val", "boxes": "whole"}},
    ],
)
def test_nothing_is_held_out(change: dict[str, Any]) -> None:
    """Where it is not wanted, too few, or where something else validates."""
    source = {"data": LARGE, "boxes": "whole", **change.get("source", {})}
    data = setup.data_of(tiny.settings("multilevel", {**change, "source": source}))
    assert data.source is not None
    assert len(data.source) == source.get("limit", 700)
    assert (data.validation is not None) == ("validation" in change)


def test_stages_that_hold_out_different_parts_share_no_crops() -> None:
    store: setup.CropStore = {}
    for count in (0, 32, 35, 35):
        setup.data_of(tiny.settings(change={"source": {"data": LARGE, "boxes": "whole"}, "held_out": count}), store)
    sizes = sorted(len(crops) for crops, _ in store.values())
    assert sizes == [665, 668, 700]


def test_stages_that_need_no_source_hold_nothing_out(finished: Run) -> None:
    data = setup.data_of(tiny.settings("shot", {"init": str(finished.path), "source": {"data": LARGE}}))
    assert data.source is data.validation is None
