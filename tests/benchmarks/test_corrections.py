"""``benchmarks/corrections.py``: estimates of the share right where the right answer is known."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tests import tiny
from tests.scripts import script


def seen(study: ModuleType, *, right: float, agreed: float, count: int = 4000) -> object:
    """Keypoints of which ``right`` are right and ``agreed`` are near in both views, scored by whether they agree."""
    draws = np.random.default_rng(0)
    near = draws.random((count, 1)) < agreed
    return study.Held(
        scores=np.where(near, 0.7, 0.3).astype(np.float32),
        apart=np.where(near, 0.01, 0.2),
        right=draws.random((count, 1)) < right,
        counted=np.ones((count, 1), bool),
    )


def test_without_a_shift_every_estimate_but_agreement_itself_is_the_share_right() -> None:
    study = script("corrections")
    source = seen(study, right=0.6, agreed=0.8)
    values = np.full(4000, study.calibration.logit(np.array([0.6]))[0])
    found = study.estimates(source, source, values)
    assert found.pop("shift to the agreement itself") == pytest.approx(0.8, abs=0.02)
    assert len(found) == 6
    assert list(found.values()) == pytest.approx([0.6] * 6, abs=0.02)


def test_corrections_of_a_run(tmp_path: Path) -> None:
    study = script("corrections")
    found = study.of_run(tiny.run(tmp_path / "source", "source_only"), "figures:middle,side=48,count=24")
    assert len(found) == 10
    assert all(0 <= ece <= 100 for ece, _ in found.values())
    assert found["with target labels: the right shift"][1] == 0
