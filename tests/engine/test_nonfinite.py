"""Steps whose loss or gradient is not finite, left out: counted, logged, and the same over an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests import tiny

from poseshift.batches import Batch
from poseshift.engine import nonfinite, optimise
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import Session
from poseshift.errors import TrainingError
from poseshift.methods.base import Method, Term, Update
from poseshift.methods.multilevel import Multilevel
from poseshift.methods.regda import Regda
from poseshift.methods.source_only import SourceOnly

SKIP = {"on_nonfinite": "skip", "log_every": 1}
PLAIN = {"method": {"levels": ["feature"], "occlusion": False}}
STEPS = 6


@pytest.fixture(params=["host", "device"])
def decides(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who looks whether an update is to be taken: the host, or the device while the host runs ahead of it."""
    monkeypatch.setattr(optimise, "can_fuse", lambda parameters: True)
    monkeypatch.setattr(nonfinite, "runs_ahead", lambda device: request.param == "device")
    return str(request.param)


both = pytest.mark.usefixtures("decides")


def poison(monkeypatch: pytest.MonkeyPatch, *steps: int, stop: int | None = None) -> None:
    """Images of ``steps`` become NaN; training stops before ``stop``."""
    updates = SourceOnly.updates

    def poisoned(self: SourceOnly, batch: Batch, progress: float) -> Iterator[Update]:
        step = round(progress * STEPS)
        if step == stop:
            raise TrainingError("stopped")
        if step in steps:
            batch.source.view.images.fill_(torch.nan)
        yield from updates(self, batch, progress)

    monkeypatch.setattr(SourceOnly, "updates", poisoned)


def skipped(run: Run) -> dict[int, str]:
    return {line["step"]: line["skipped"] for line in run.metrics() if "skipped" in line}


def logged(run: Run) -> list[int]:
    return [line["step"] for line in run.metrics() if "terms" in line]


@both
def test_a_step_is_left_out_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 1, 4)
    run = tiny.run(tmp_path / "run", change=SKIP)
    assert run.finished
    assert run.manifest["skipped_steps"] == 2
    assert logged(run) == [1, 3, 4, 6]
    texts = skipped(run)
    assert list(texts) == [2, 5], "after the steps 1 and 4"
    assert texts[2].startswith("step 1: supervised not finite")
    assert "figures" in texts[2] or "train/000" in texts[2], "the images are named"
    assert "nothing was stepped" not in texts[2]
    assert all(tensor.isfinite().all() for tensor in tiny.weights(run).values()), "BatchNorm's statistics too"


@both
def test_nothing_of_it_moves_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is left out: weights, statistics and optimisers are those of the step before it."""
    short = {**SKIP, "save_every": 1, "keep": 9}
    poison(monkeypatch, 5)
    run = tiny.run(tmp_path / "run", change=short)
    before, after = run.checkpoint(5), run.checkpoint(6)
    assert tiny.same_tensors(before.tensors("method"), after.tensors("method"))
    assert str(before.state()) == str(after.state())


@both
def test_the_means_of_a_line_are_those_of_the_steps_that_were_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 4)
    each = tiny.run(tmp_path / "each", change=SKIP)
    both = tiny.run(tmp_path / "both", change={**SKIP, "log_every": 3, "save_every": 6})
    values = {line["step"]: line["terms"]["supervised"]["value"] for line in each.metrics() if "terms" in line}
    (last,) = [line["terms"]["supervised"]["value"] for line in both.metrics() if "terms" in line and line["step"] == 6]
    assert last == pytest.approx((values[4] + values[6]) / 2, rel=1e-6)


@both
def test_what_an_earlier_update_logged_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = Regda.updates

    def poisoned(self: Method, batch: Batch, progress: float) -> Iterator[Update]:
        for number, update in enumerate(updates(self, batch, progress)):
            bad = number == 1 and round(progress * STEPS) == 3
            terms = {name: Term(term.value * torch.nan if bad else term.value) for name, term in update.terms.items()}
            yield Update(terms=terms, on=update.on)

    monkeypatch.setattr(Regda, "updates", poisoned)
    run = tiny.run(tmp_path / "run", "regda", {**SKIP, "log_every": 3})
    assert skipped(run)[4].startswith("step 3: false_disparity not finite")
    line = next(line for line in run.metrics() if line["step"] == 6 and "terms" in line)
    assert set(line["terms"]) == {"supervised", "source_disparity", "false_disparity", "target_disparity"}


def test_the_same_over_an_interruption(tmp_path: Path) -> None:
    def trained(name: str, stop: Callable[[pytest.MonkeyPatch], None]) -> Run:
        with pytest.MonkeyPatch.context() as patch:
            stop(patch)
            try:
                tiny.run(tmp_path / name, change=SKIP)
            except TrainingError:
                assert name == "cut"
        return open_run(tmp_path / name)

    whole = trained("whole", lambda patch: poison(patch, 1, 3))
    cut = trained("cut", lambda patch: poison(patch, 1, 3, stop=5))
    assert (cut.manifest["skipped_steps"], cut.checkpoint("last").step) == (2, 4)
    cut = trained("cut", lambda patch: poison(patch, 1, 3))
    assert tiny.same_tensors(tiny.weights(cut), tiny.weights(whole))
    assert tiny.lines(cut) == tiny.lines(whole)
    assert cut.manifest["skipped_steps"] == whole.manifest["skipped_steps"] == 2


@both
def test_a_limit_holds_for_the_whole_run(tmp_path: Path) -> None:
    few = {**SKIP, "nonfinite_limit": 1}
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, 1, stop=3)
        with pytest.raises(TrainingError, match="stopped"):
            tiny.run(tmp_path / "run", change=few)
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, 1, 4)
        with pytest.raises(TrainingError, match=r"step 4: supervised not finite.*1 steps were left out before"):
            tiny.run(tmp_path / "run", change=few)
    run = open_run(tmp_path / "run")
    assert [one.step for one in run.checkpoints()] == [2, 4]
    assert run.manifest["outcome"].startswith("failed: step 4")


def test_the_device_decides_as_the_host_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, buffers, averages, moments and lines of the log are the same bits; the first step is one of the bad."""
    updates = Multilevel.updates

    def poisoned(self: Multilevel, batch: Batch, progress: float) -> Iterator[Update]:
        if round(progress * STEPS) in (0, 3):
            batch.target.student.images.fill_(torch.nan)
        yield from updates(self, batch, progress)

    monkeypatch.setattr(Multilevel, "updates", poisoned)
    monkeypatch.setattr(optimise, "can_fuse", lambda parameters: True)
    for name in ("adamw", "sgd"):
        runs = []
        for device in (False, True):
            monkeypatch.setattr(nonfinite, "runs_ahead", lambda place, device=device: device)
            own = {
                **PLAIN,
                **SKIP,
                "log_every": 2,
                "save_every": 6,
                "optimiser": {"name": name, "weight_decay": 0.01, "rate": 0.001},
            }
            runs.append(tiny.run(tmp_path / f"{name}-{device}", "multilevel", own))
        assert skipped(runs[0]).keys() == {1, 4}
        assert tiny.lines(runs[0]) == tiny.lines(runs[1])
        assert tiny.same_tensors(*map(tiny.weights, runs))
        assert str(runs[0].checkpoint("last").state()) == str(runs[1].checkpoint("last").state())


def test_the_device_stops_a_run_with_the_words_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 2)
    monkeypatch.setattr(optimise, "can_fuse", lambda parameters: True)
    told, reached = [], []
    for device in (False, True):
        monkeypatch.setattr(nonfinite, "runs_ahead", lambda place, device=device: device)
        one = Session(
            tiny.settings(change={"log_every": 50, "save_every": 6}),
            tmp_path / str(device),
            None,
            command="",
            quiet=True,
        )
        with pytest.raises(TrainingError, match="step 2: supervised not finite") as stopped:
            one.run_to_end()
        told.append(str(stopped.value))
        reached.append({name: tensor.clone() for name, tensor in one.method.named_parameters()})
        assert not one.run.checkpoints()
        assert not [line for line in one.run.metrics() if "terms" in line]
    assert told[0] == told[1], "the images too, though the next step was begun"
    assert tiny.same_tensors(
        {k: v for k, v in reached[0].items() if "average" not in k},
        {k: v for k, v in reached[1].items() if "average" not in k},
    )


def test_a_device_is_never_waited_for_longer_than_a_line_or_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step is looked at before it is saved, each other one when the next was begun."""
    monkeypatch.setattr(optimise, "can_fuse", lambda parameters: True)
    monkeypatch.setattr(nonfinite, "runs_ahead", lambda device: True)
    poison(monkeypatch, STEPS - 1)
    with pytest.raises(TrainingError, match="step 5: supervised not finite"):
        tiny.run(tmp_path / "run", change={"log_every": 50})
    assert [one.step for one in open_run(tmp_path / "run").checkpoints()] == [2, 4]
