"""Pairs built to fail: what adaptation makes of a model there is worse, and the run must end with the model it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests import tiny

from poseshift.engine.evaluate import evaluate
from poseshift.engine.run import Run

LEARNS: dict[str, Any] = {
    "source": {"data": "figures:plain,side=48,count=240"},
    "target": {"data": "figures:middle,side=48,count=48"},
    "validation": {"data": "figures:plain,side=48,count=48", "split": "val", "boxes": "whole"},
    "batch_size": 16,
    "norms_every": 0,
    "agreement_images": 32,
}
ADAPTS = {"steps": 8, "save_every": 4, "optimiser": {"rate": 0.004}}
TEST = "figures:middle,side=48,count=100"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A source-only model that has learned something."""
    change = {**LEARNS, "method": {"ema_decay": 0.0}, "steps": 60, "save_every": 60, "optimiser": {"rate": 0.004}}
    return tiny.run(tmp_path_factory.mktemp("start") / "start", change=change)


def pck(run: Run, which: Any = "best") -> float:
    return float(evaluate(run, TEST, split="test", which=which)["visible"]["pck@0.05"])


def adapted(folder: Path, start: Run, method: str, change: dict[str, Any]) -> Run:
    return tiny.run(folder / "run", method, {**LEARNS, **ADAPTS, "init": str(start.path), **change})


def test_unrelated_images(start: Run, tmp_path: Path) -> None:
    """Photographs of noise: information maximisation finds some in them, and forgets what a body is."""
    tiny.photos(tmp_path / "photos", 32)
    target = {"target": {"data": f"images:{tmp_path / 'photos'}", "boxes": "whole"}}
    published = {"method": {"certainty_weight": 1.0, "diversity_weight": 1.0, "encoder_rate_scale": 1.0}}
    run = adapted(tmp_path, start, "shot", {**target, **published})
    assert pck(run, "last") < 0.7 * pck(start), "the pair no longer fails"
    assert run.checkpoint("best").step == 0
    assert pck(run) == pck(start)
    assert run.manifest["negative_transfer"].startswith("plausibility")
    scores = {step: run.checkpoint(step).info["scores"] for step in (0, 8)}
    assert scores[8]["entropy"] < scores[0]["entropy"]
    assert scores[8]["information"] > scores[0]["information"], "what is adapted to cannot be what warns"


def test_a_rate_far_too_high(start: Run, tmp_path: Path) -> None:
    wild = {"method": {"levels": [], "ema_decay": 0.5}, "optimiser": {"rate": 0.1}}
    run = adapted(tmp_path, start, "multilevel", wild)
    assert pck(run, "last") < 0.7 * pck(start), "the pair no longer fails"
    assert run.checkpoint("best").step == 0
    assert run.manifest["negative_transfer"] != "no"


def test_an_adaptation_that_does_no_harm_is_kept(start: Run, tmp_path: Path) -> None:
    calm = {"method": {"levels": [], "ema_decay": 0.8}, "optimiser": {"rate": 0.002}}
    run = adapted(tmp_path, start, "multilevel", calm)
    assert pck(run, "last") > 0.7 * pck(start)
    assert run.checkpoint("best").step > 0
    assert run.manifest["negative_transfer"] == "no"
