import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import tiny

from poseshift.apps import sweep as sweeps
from poseshift.apps.compare import tasks
from poseshift.apps.sweep import Range, guided, sweep
from poseshift.apps.sweep.axes import Axis
from poseshift.engine.run import open_run
from poseshift.errors import Interrupted, UsageError

AXES = (Axis(key="x", span=Range(low=0.001, high=1.0)), Axis(key="y", values=(["a"], ["b"])))


def search(out: Path, train: Any, *, trials: int = 4, storage: str | None = None, batch: int = 1) -> list[guided.Trial]:
    out.mkdir(exist_ok=True)
    return guided.search(AXES, out, name="test", trials=trials, batch=batch, storage=storage, train=train)


class Trains:
    """Scores settings by their first value, and remembers what it was asked."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.fails = fails

    def __call__(self, settings: Sequence[Mapping[str, Any]]) -> list[float | None]:
        self.asked += settings
        first = len(self.asked) - len(settings)
        return [None if first + n in self.fails else 100 * one["x"] for n, one in enumerate(settings)]


def test_what_is_asked_and_told(tmp_path: Path) -> None:
    train = Trains(fails=[1])
    found = search(tmp_path, train)
    assert [one.values for one in found] == train.asked
    assert [one.state for one in found] == ["complete", "fail", "complete", "complete"]
    assert [one.score for one in found] == [None if n == 1 else 100 * v["x"] for n, v in enumerate(train.asked)]
    assert all(0.001 <= one.values["x"] <= 1 and one.values["y"] in (["a"], ["b"]) and one.here for one in found)
    again = Trains()
    assert len(search(tmp_path, again)) == 4
    assert again.asked == [], "they were done"
    assert len(search(tmp_path, again, trials=5, batch=3)) == 5
    assert len(again.asked) == 1


def test_alone_it_repeats_itself(tmp_path: Path) -> None:
    one, other = Trains(), Trains()
    search(tmp_path / "one", one)
    search(tmp_path / "other", other)
    assert one.asked == other.asked


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_folders_share_a_study(kind: str, tmp_path: Path) -> None:
    storage = str(tmp_path / "shared.journal") if kind == "journal" else f"sqlite:///{tmp_path / 'shared.db'}"
    one, other = Trains(), Trains()
    search(tmp_path / "one", one, trials=2, storage=storage)
    found = search(tmp_path / "other", other, trials=5, storage=storage)
    assert (len(one.asked), len(other.asked)) == (2, 3)
    assert [trial.here for trial in found] == [False, False, True, True, True]


def test_what_a_stop_left_goes_on(tmp_path: Path) -> None:
    stopped: list[Mapping[str, Any]] = []

    def stop(settings: Sequence[Mapping[str, Any]]) -> list[float | None]:
        stopped.extend(settings)
        raise Interrupted(15, "stopped")

    with pytest.raises(Interrupted):
        search(tmp_path, stop, batch=2)
    train = Trains()
    found = search(tmp_path, train, batch=2)
    assert train.asked[:2] == stopped, "the same settings, so that their runs go on"
    assert len(found) == 4
    assert all(one.state == "complete" for one in found)


def test_a_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    for storage in ("sqlite:////no/such/folder/x.db", str(tmp_path / "no" / "x.journal"), "bogus://x"):
        with pytest.raises(UsageError, match=r"--storage .*: cannot be opened") as caught:
            search(tmp_path, Trains(), storage=storage)
        assert "\n" not in str(caught.value)


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"--guided needs Optuna, .*pip install 'poseshift\[sweep\]'"):
        guided.installed()


def test_a_search_reads_no_label_before_it_has_ended(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then what was trained is scored, and the best without labels is the row to compare with."""
    seen: list[str] = []
    real_score, real_train = tasks.scoring.score, tasks.train

    def train(settings: Any, folder: Path, **options: Any) -> Any:
        if not folder.exists():
            seen.append("train")
        return real_train(settings, folder, **options)

    def score(run: Any, *rest: Any) -> Any:
        seen.append("score")
        return real_score(run, *rest)

    monkeypatch.setattr(tasks, "train", train)
    monkeypatch.setattr(tasks.scoring, "score", score)
    out = tmp_path / "out"
    grid = {"method.domain_weight": Range(low=0.001, high=1.0)}
    found = sweep(recipe(), out, grid=grid, guided=2, quiet=True)
    assert seen == ["train"] * 4 + ["score"] * 2, "two starts and two settings"
    assert len(found.trials) == 2
    assert found.best is not None
    assert found.comparison is not None
    for row, trial in zip(found.comparison.rows, found.trials, strict=True):
        run = open_run(out / "runs/seed-0" / row.name)
        assert run.config.method.domain_weight == trial.values["method.domain_weight"]  # type: ignore[attr-defined]
        assert trial.score == pytest.approx(run.checkpoint("best").info["scores"]["agreement"])
        assert row.marks["agreement"] == f"{trial.score:.1f}"
    best = max(found.trials, key=lambda one: one.score or 0.0)
    assert f"={best.values['method.domain_weight']}" in found.comparison.baseline
    rows = list(csv.DictReader(io.StringIO((out / "trials.csv").read_text())))
    assert [float(row["agreement"]) for row in rows] == pytest.approx([one.score for one in found.trials], abs=0.01)


def test_a_search_needs_no_labels(recipe: Callable[..., Path], tmp_path: Path) -> None:
    file = recipe()
    file.write_text(file.read_text().partition("study:")[0])
    found = sweep(file, tmp_path / "out", grid={"method.occlusion": [True, False]}, guided=1, quiet=True)
    assert found.comparison is None
    assert found.best is not None
    assert found.best.values["method.occlusion"] in (True, False)
    assert not list((tmp_path / "out").rglob("study.json"))


def test_a_setting_that_is_tried_twice_is_one_row(recipe: Callable[..., Path], tmp_path: Path) -> None:
    grid = {"method.occlusion": [True]}
    found = sweep(recipe(), tmp_path / "out", grid=grid, guided=3, jobs=1, quiet=True)
    assert len(found.trials) == 3
    assert len({one.score for one in found.trials}) == 1
    assert found.comparison is not None
    assert len(found.comparison.rows) == 1


def test_a_study_is_the_same_wherever_the_data_lies() -> None:
    one = {"target": {"data": "lsp:/here/data/lsp"}, "model": {"weights": "w/a.safetensors"}, "rates": [0.1, "a:b"]}
    other = {"target": {"data": "lsp:elsewhere/lsp/"}, "model": {"weights": "/x/a.safetensors"}, "rates": [0.1, "a:b"]}
    assert sweeps._portable(one) == sweeps._portable(other)
    assert sweeps._portable({**other, "target": {"data": "lsp:elsewhere/lspet"}}) != sweeps._portable(one)
    assert sweeps._portable(tiny.SOURCE) == tiny.SOURCE


def test_it_is_found_through_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tiny.call(monkeypatch, "sweep", "none.yaml", "--set", "method.x=1", "--out", "o") == 2
