import itertools
from pathlib import Path

import pytest
import torch
from tests.scripts import script

from poseshift.apps.export.speed import INT8, ONNX, TORCH, WARM, Contest, Speed, side_by_side
from poseshift.engine.run import Run


def test_models_take_turns_in_both_orders() -> None:
    """Three calls, of one, two and three seconds by a clock that they move."""
    now, called = itertools.count(), []

    def call(name: str, seconds: int) -> None:
        called.append(name)
        for _ in range(seconds - 1):
            next(now)

    calls = {name: lambda name=name, long=long: call(name, long) for name, long in (("a", 1), ("b", 2), ("c", 3))}
    found = side_by_side(calls, repeats=3, clock=lambda: float(next(now)))
    assert found == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [3.0] * 3}
    assert called == ["a", "b", "c", "c", "b", "a"] * ((WARM + 3) // 2) + ["a", "b", "c"] * ((WARM + 3) % 2)


def test_a_ratio_is_that_of_neighbours() -> None:
    """A machine that is busy for one round slows both, and the median of the ratios does not see it."""
    speed = Speed(batch=1, threads=1, seconds={"slow": [2.0, 20.0, 4.0], "fast": [1.0, 10.0, 1.0]})
    assert speed.ratio("fast", "slow") == 2.0
    assert (speed.median("slow"), speed.median("fast")) == (4.0, 1.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_contest(run: Run, threads: int) -> None:
    before = torch.get_num_threads()
    found = Contest(run.predictor(), size=32).time(batch=2, threads=threads, repeats=1)
    assert torch.get_num_threads() == before
    assert list(found.seconds) == [TORCH, ONNX, INT8]
    assert all(len(rows) == 1 and rows[0] > 0 for rows in found.seconds.values())
    assert list(Contest(run.predictor(), size=32, int8=False).models) == [ONNX]


def test_the_benchmark_scores_every_model(run: Run) -> None:
    """On eight drawn images; the graph has a flip test inside, torch has none, so only ONNX and int8 are alike."""
    speeds = script("export_speed")
    row = speeds.accuracy("tiny", run, "figures:middle,side=48,count=8", "test", ranges=4)
    assert (row.name, row.images) == ("tiny", 8)
    assert list(row.pck) == [TORCH, ONNX, INT8]
    assert all(0 <= value <= 100 for value in row.pck.values())
    speed = Speed(batch=1, threads=1, seconds={TORCH: [0.03], ONNX: [0.01], INT8: [0.005]})
    scored = speeds.Accuracy("tiny", 8, {TORCH: 50.0, ONNX: 50.0, INT8: 49.25}, 98.5)
    text = speeds.text({"net 32": [speed]}, [scored], "head")
    assert "| net 32 | 1 | 1 | 1 | 30.0 | 10.0 | 5.0 | 3.00 | 6.00 | 2.00 |" in text
    assert "| tiny | 8 | 50.00 | 50.00 | 49.25 | 0.75 | 98.5 % |" in text


def test_the_benchmark_trains_where_no_run_is_given(tmp_path: Path) -> None:
    speeds = script("export_speed")
    speeds.BRIEF["source"]["data"] = "figures:plain,side=64,count=40"
    speeds.BRIEF["target"]["data"] = "figures:middle,side=64,count=12"
    made = speeds.brief(tmp_path / "run", 1)
    assert made.finished
