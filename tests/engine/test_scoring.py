import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny

from poseshift.data import sources
from poseshift.engine import label_free, scoring, setup
from poseshift.engine.evaluate import evaluate
from poseshift.engine.train import Session
from poseshift.ops import affine
from poseshift.types import Annotations

HELD_OUT = {
    "validation": {"data": tiny.SOURCE, "split": "val", "boxes": "whole"},
    "monitor": {"data": tiny.TARGET, "split": "test", "boxes": "whole"},
}


def session(tmp_path: Path, method: str, change: dict[str, object]) -> Session:
    return Session(tiny.settings(method, change), tmp_path / "run", None, command="", quiet=True)


def scored(one: Session, *, step: int) -> dict[str, float]:
    return scoring.scores(one.method, one.data, one.config, step=step, device=one.fabric.device, known=one.known)


def test_what_is_scored(tmp_path: Path) -> None:
    change = {**HELD_OUT, "method": {"levels": []}, "steps": 2}
    run = tiny.run(tmp_path / "run", "multilevel", change)
    scores = run.checkpoint("last").info["scores"]
    found = {field.name for field in dataclasses.fields(label_free.LabelFree)}
    assert set(scores) == found | {"validation", "monitor"}
    assert all(0 <= value <= 100 for name, value in scores.items() if name != "plausibility")
    (line,) = [line for line in run.metrics() if "scores" in line]
    assert line == {"step": 2, "scores": scores}
    said = evaluate(run, tiny.TARGET, split="test", which="last")
    assert scores["monitor"] == pytest.approx(said["visible"]["pck@0.05"], abs=1e-3)
    assert run.manifest["uses_target_labels"] == "monitoring only"


def test_a_style_run_has_no_score(tmp_path: Path) -> None:
    one = session(tmp_path, "style", {})
    assert scored(one, step=1) == {}


def test_without_a_visible_keypoint_there_is_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not NaN, which no JSON file can hold."""
    read = sources.read

    def hidden(spec: str, **options: object) -> Annotations:
        found = read(spec, **options)  # type: ignore[arg-type]
        if options.get("split") == "val":
            found.visible[:] = 1
        return found

    monkeypatch.setattr(setup.sources, "read", hidden)
    run = tiny.run(tmp_path / "run", change={"validation": HELD_OUT["validation"], "steps": 2})
    assert run.checkpoint("last").info["scores"] == {}
    json.loads((run.checkpoint("last").path / "manifest.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(("found", "told"), [(80.0, True), (20.0, False)])
def test_a_net_that_cannot_tell_sides_is_told_of(
    found: float, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scoring.label_free, "label_free", lambda *args: tiny.scored(coincidence=found))
    one = session(tmp_path, "multilevel", {"method": {"levels": []}})
    assert scored(one, step=7)["coincidence"] == found
    assert ("step 7: left and right fall on one spot in 80 %" in caplog.text) == told
    assert ("%" in caplog.text) == told


def test_the_views_are_the_same_at_every_checkpoint(tmp_path: Path) -> None:
    one = session(tmp_path, "multilevel", {"method": {"levels": []}, "agreement_images": 6})
    assert one.data.target is not None
    first, again = (list(scoring._pairs(one.data.target, one.config, one.fabric.device)) for _ in range(2))
    assert [len(plain.ids) for plain, _ in first] == [4, 2]
    for (plain, strong), (plain_again, strong_again) in zip(first, again, strict=True):
        assert torch.equal(strong.student.images, strong_again.student.images)
        assert torch.equal(plain.ids, plain_again.ids)
        assert torch.equal(plain.ids, strong.ids)
        assert not torch.equal(plain.student.images, strong.student.images)
    rows = np.concatenate([plain.ids.numpy() for plain, _ in first])
    assert len(set(rows.tolist())) == 6


def test_scoring_rows_are_few_sorted_and_the_same() -> None:
    crops = setup.data_of(tiny.settings("multilevel")).target
    assert crops is not None
    rows = scoring.rows_for_scoring(crops, 5, seed=3)
    assert rows == sorted(set(rows)) == scoring.rows_for_scoring(crops, 5, seed=3)
    assert len(rows) == 5
    assert rows != scoring.rows_for_scoring(crops, 5, seed=4)
    assert scoring.rows_for_scoring(crops, 100, seed=0) == list(range(12))


def test_target_views_are_mirrored_in_training_and_upright_in_scoring(tmp_path: Path) -> None:
    mirrored = {"student": {"flip": 1.0}, "teacher": {"flip": 1.0}, "teachers": 2}
    one = session(tmp_path, "multilevel", {"method": {"levels": []}, "augment": mirrored})
    batch = next(iter(one.batches()))
    views = [batch.target.student, *batch.target.teacher]
    assert len(views) == 3
    assert all(affine.mirrored(view.matrix).all() for view in views)
    assert one.data.target is not None
    for _, strong in scoring._pairs(one.data.target, one.config, one.fabric.device):
        assert not affine.mirrored(strong.student.matrix).any()
