"""``benchmarks/collapse.py``: the poses that it makes are collapsed as their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.scripts import script

PAIRS = ((0, 3), (1, 2))
POSES = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)


def test_what_is_made_of_poses() -> None:
    made = script("collapse").MADE
    found = {name: make(POSES, PAIRS) for name, make in made.items()}
    assert np.ptp(found["all on one keypoint"], axis=1).max() == 0
    assert np.ptp(found["their mean pose"], axis=0).max() == 0
    assert np.allclose(found["their mean pose"][0], POSES.mean(0))
    assert np.array_equal(found["sides exchanged"], POSES[:, [3, 2, 1, 0, 4]])
    half = found["sides exchanged in every other image"]
    assert np.array_equal(half[1::2], POSES[1::2])
    assert np.array_equal(half[::2], found["sides exchanged"][::2])
    assert np.array_equal(found["every other pair exchanged"], POSES[:, [3, 1, 2, 0, 4]])


def test_rows_of_a_run(tmp_path: Path) -> None:
    study = script("collapse")
    run = tiny.run(tmp_path / "source", "source_only")
    found = {
        name: {one.name: one.value for one in measures}
        for name, measures in study.measured(run, "figures:middle,side=48,count=12")
    }
    assert {"true poses of the target", "source-only nets", *study.MADE} < set(found)
    assert found["all on one keypoint"]["one_place"] == 100
    assert found["true poses of the target"]["one_place"] == 0


@pytest.mark.parametrize(
    ("values", "shown"), [([None], "–"), ([1.2, None, 0.9], "1"), ([83.4, 92.6], "83–93"), ([0.0], "0")]
)
def test_least_to_most(values: list[float | None], shown: str) -> None:
    assert script("collapse").spread(values) == shown
