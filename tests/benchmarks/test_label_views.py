"""``benchmarks/label_views.py``: what it counts as right, and that it labels each target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.scripts import BENCHMARKS, script

from poseshift.engine.run import open_run


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # a script's own folder comes first


def test_rows_of_a_run(tmp_path: Path) -> None:
    study = script("label_views")
    run = tiny.run(tmp_path / "source", "source_only")
    found = dict(study.rows(str(run.path), "figures", 4, 0.75))
    assert set(found) == {f"figures {domain}" for domain in study.TARGETS["figures"]}
    assert all(len(row) == 2 * len(study.VIEWS) for row in found.values())


def test_only_visible_labels_count_and_the_half_is_the_more_certain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = script("label_views")
    run = open_run(tiny.run(tmp_path / "source", "source_only").path)
    shown = study.crops(run, "figures:plain,side=48,count=8", "train")
    visible = shown.annotations.visible == 2
    count, keypoints = visible.shape
    points = torch.tensor(shown.keypoints)
    points[: count // 2] += 1000.0  # the first images are labelled wrongly, and with less certainty
    peaks = torch.arange(float(count)).unsqueeze(1).expand(count, keypoints)
    monkeypatch.setattr(study, "labels", lambda *_: (points, peaks))
    every, half = study.right(run.predictor("last"), shown, ())
    assert every == pytest.approx(100 * visible[count // 2 :].sum() / visible.sum())
    assert half == 100
