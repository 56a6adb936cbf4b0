import json
from pathlib import Path

import pytest
from tests import tiny

from poseshift.apps.compare.cost import clock_seconds, cost, step_seconds, taken
from poseshift.engine import train as training
from poseshift.engine.run import Run
from poseshift.errors import Interrupted


def test_a_run_that_was_stopped_tells_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after step 3 of 4, then gone on with: no step counts twice, and the pause not at all."""
    real = training.Session.step

    def step(self: training.Session, number: int, batch: object) -> None:
        real(self, number, batch)  # type: ignore[arg-type]
        if number == 2 and self.run.manifest["sessions"] == 1:
            raise Interrupted(15, "stopped")

    monkeypatch.setattr(training.Session, "step", step)
    change = {"steps": 4, "log_every": 1}
    with pytest.raises(Interrupted):
        tiny.run(tmp_path / "run", change=change)
    run = tiny.run(tmp_path / "run", change=change)
    assert run.finished
    assert (run.manifest["sessions"], clock_seconds(run)) == (2, None)
    lines = [line for line in run.metrics() if "seconds_per_step" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert step_seconds(run) == pytest.approx(sum(line["seconds_per_step"] for line in lines))
    found = cost([taken(run)])
    assert found is not None
    assert not found.whole
    assert found.seconds == pytest.approx(step_seconds(run))
    assert found.images_per_second == pytest.approx(4 * 4 / step_seconds(run)), "four steps of four source images"


def made(folder: Path, lines: list[dict[str, float]], **manifest: object) -> Run:
    tiny.write_config(folder.with_suffix(".yaml"))
    folder.mkdir()
    (folder / "run.yaml").write_text(folder.with_suffix(".yaml").read_text())
    whole = {"schema": 1, "outcome": "finished", "skeleton": {}, **manifest}
    (folder / "manifest.json").write_text(json.dumps(whole))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Run(folder)


def test_whole_runs_tell_of_the_clock(tmp_path: Path) -> None:
    times = {"start": "2026-01-01T10:00:00+00:00", "end": "2026-01-01T10:01:30+00:00"}
    lines = [{"step": 2, "seconds_per_step": 3.0}, {"step": 2, "scores": 1.0}, {"step": 6, "seconds_per_step": 1.0}]
    one = made(tmp_path / "one", lines, sessions=1, **times)
    assert (step_seconds(one), clock_seconds(one)) == (10.0, 90.0)
    older = made(tmp_path / "older", lines, **times)
    assert clock_seconds(older) is None, "of a version that counted no sessions"
    found = cost([taken(one), taken(older)])
    assert found is not None
    assert (found.seconds, found.whole, found.images_per_second) == (50.0, False, pytest.approx(2 * 24 / 20))
    silent = made(tmp_path / "silent", [], sessions=1, **times)
    assert cost([taken(silent)]) is not None
    assert cost([taken(silent)]).images_per_second is None  # type: ignore[union-attr]
    assert cost([]) is None


def test_one_step_has_no_rate(tmp_path: Path) -> None:
    """Statistics alone are taken in one step, before which the data are read: no rate of training."""
    run = tiny.run(tmp_path / "run", change={"steps": 1, "log_every": 1})
    found = cost([taken(run)])
    assert found is not None
    assert found.images_per_second is None
    assert found.seconds > 0
