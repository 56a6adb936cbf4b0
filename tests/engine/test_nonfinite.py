"""Steps whose loss or gradient is not finite, left out: counted, logged, and the same over an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests import tiny

from poseshift.batches import Batch
from poseshift.engine.run import Run, open_run
from poseshift.errors import TrainingError
from poseshift.methods.base import Method, Term, Update
from poseshift.methods.regda import Regda
from poseshift.methods.source_only import SourceOnly

SKIP = {"on_nonfinite": "skip", "log_every": 1}
STEPS = 6


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


def test_nothing_of_it_moves_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is left out: weights, statistics and optimisers are those of the step before it."""
    short = {**SKIP, "save_every": 1, "keep": 9}
    poison(monkeypatch, 5)
    run = tiny.run(tmp_path / "run", change=short)
    before, after = run.checkpoint(5), run.checkpoint(6)
    assert tiny.same_tensors(before.tensors("method"), after.tensors("method"))
    assert str(before.state()) == str(after.state())


def test_the_means_of_a_line_are_those_of_the_steps_that_were_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 4)
    each = tiny.run(tmp_path / "each", change=SKIP)
    both = tiny.run(tmp_path / "both", change={**SKIP, "log_every": 3, "save_every": 6})
    values = {line["step"]: line["terms"]["supervised"]["value"] for line in each.metrics() if "terms" in line}
    (last,) = [line["terms"]["supervised"]["value"] for line in both.metrics() if "terms" in line and line["step"] == 6]
    assert last == pytest.approx((values[4] + values[6]) / 2, rel=1e-6)


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
