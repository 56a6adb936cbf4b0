"""The host runs ahead of a GPU: no step waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.contract.test_asks_nothing import Watched

from poseshift.engine import nonfinite, optimise
from poseshift.engine.train import Session
from poseshift.methods import METHODS

QUIET = {"norms_every": 0, "log_every": 50, "save_every": 50, "steps": 50}


def session(folder: Path, method: str, change: dict[str, Any]) -> Session:
    return Session(tiny.settings(method, {**QUIET, **change}), folder, None, command="", quiet=True)


@pytest.mark.parametrize("on_nonfinite", ["stop", "skip"])
def test_the_engine_asks_nothing(
    on_nonfinite: str, change: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimise, "can_fuse", lambda parameters: True)
    monkeypatch.setattr(nonfinite, "runs_ahead", lambda device: True)
    own = {**change, "on_nonfinite": on_nonfinite, "gradient_clip": 0.1}
    one = session(tmp_path / "run", "multilevel", own)
    batch = next(one.batches(0))
    with Watched() as watched:
        one.step(0, batch)
    assert not watched.asked


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("on_nonfinite", ["stop", "skip"])
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_a_gpu(method: str, on_nonfinite: str, change: dict[str, str], tmp_path: Path) -> None:
    given = change if method not in ("style", "source_only", "pose_prior") else {}
    own = {**given, "on_nonfinite": on_nonfinite, "gradient_clip": 0.1, "device": "cuda"}
    one = session(tmp_path / "run", method, own)
    one.method.train()
    one._refresh()
    batches = one.batches(0)
    for step in range(5):
        batch = next(batches)
        torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
        try:
            one.step(step, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
