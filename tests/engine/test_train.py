import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from poseshift.batches import Batch
from poseshift.engine import checkpoint, scoring
from poseshift.engine.optimise import Optimisers
from poseshift.engine.run import Run, open_run
from poseshift.engine.train import Session, train
from poseshift.errors import CheckpointError, DataError, Interrupted, PoseshiftError, TrainingError
from poseshift.methods.base import Term, Update
from poseshift.methods.source_only import SourceOnly
from poseshift.models.backbones import SmallBackbone


def session(folder: Path, method: str = "source_only", change: dict[str, Any] | None = None) -> Session:
    return Session(tiny.settings(method, change), folder, None, command="", quiet=True)


def states(run: Run) -> list[Tensor]:
    saved = run.checkpoint("last").state()["optimisers"]
    return [
        value
        for part in saved.values()
        for one in part["state"].values()
        for value in one.values()
        if isinstance(value, Tensor)
    ]


def stop_after(step: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets training fail in the middle of a step: its gradients are there, the step is not taken."""
    taken = 0
    gradients = Optimisers.gradients

    def counting(self: Optimisers, *arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > step:
            raise error
        return gradients(self, *arguments)

    monkeypatch.setattr(Optimisers, "gradients", counting)


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_every_term_of_every_step_is_in_the_journal(change: dict[str, str], tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", "multilevel", {**change, "steps": 4})
    lines = [line for line in run.metrics() if "terms" in line]
    assert [line["step"] for line in lines] == [2, 4]
    names = {"supervised", "consistency", "domain", "certainty", "diversity"}
    assert all(set(line["terms"]) == names for line in lines)
    assert lines[0]["terms"]["diversity"]["weight"] == -0.15
    assert set(lines[0]["norms"]) == names, "norms are measured at steps 0 and 3"
    assert all(norm > 0 for norm in lines[1]["norms"].values())
    assert lines[0]["rates"] == {"student": 0.002, "discriminator": 0.0001}
    assert all(line["seconds_per_step"] > 0 for line in lines)


def test_norms_can_be_left_out(tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", change={"norms_every": 0, "steps": 2})
    assert not any("norms" in line for line in run.metrics())


def test_another_seed_gives_other_weights(finished: Run, tmp_path: Path) -> None:
    other = tiny.run(tmp_path / "run", change={"seed": 1})
    assert not tiny.same_tensors(tiny.weights(other), tiny.weights(finished))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    free = tiny.run(tmp_path / "free", change={"steps": 1, "optimiser": {"name": "sgd", "momentum": 0, "rate": 1.0}})
    clipped = tiny.run(
        tmp_path / "clipped",
        change={"steps": 1, "gradient_clip": 1e-3, "optimiser": {"name": "sgd", "momentum": 0, "rate": 1.0}},
    )
    start = session(tmp_path / "start").method
    assert isinstance(start, SourceOnly)

    def moved(run: Run) -> float:
        after = tiny.weights(run)
        return math.sqrt(
            sum(
                float((after[f"nets.net.{k}"] - p.detach()).square().sum())
                for k, p in start.nets.net.named_parameters()
            )
        )

    assert moved(clipped) == pytest.approx(1e-3, rel=1e-3)
    (line,) = [line for line in free.metrics() if "gradient" in line]
    assert moved(free) == pytest.approx(line["gradient"]["gradient"], rel=1e-3)


def test_rates_follow_the_schedule(tmp_path: Path) -> None:
    options = {"schedule": "steps", "milestones": [0.5], "factor": 0.1, "warmup": 0.25, "rate": 0.4}
    run = tiny.run(tmp_path / "run", change={"steps": 8, "log_every": 1, "save_every": 8, "optimiser": options})
    rates = [line["rates"]["net"] for line in run.metrics() if "rates" in line]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.4, 0.04, 0.04, 0.04, 0.04])


@pytest.mark.parametrize("method", tiny.METHODS)
def test_half_precision_runs_on_a_cpu(method: str, change: dict[str, str], tmp_path: Path) -> None:
    given = change if method not in ("style", "source_only") else {}
    run = tiny.run(tmp_path / "run", method, {**given, "precision": "bf16-mixed", "steps": 2})
    values = [term["value"] for line in run.metrics() for term in line.get("terms", {}).values()]
    assert values
    assert all(math.isfinite(value) for value in values)
    assert all(tensor.dtype != torch.bfloat16 for tensor in tiny.weights(run).values())


@pytest.mark.parametrize("method", tiny.METHODS)
def test_a_method_never_yields_inside_autocast_or_no_grad(method: str, change: dict[str, str], tmp_path: Path) -> None:
    """The engine does its own work between two updates, outside of the precision of the nets."""
    given = change if method not in ("style", "source_only") else {}
    one = session(tmp_path / "run", method, {**given, "precision": "bf16-mixed"})
    one.method.train()
    batch = next(one.batches(0))
    seen = 0
    for update in one._updates(batch, 0.0):
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
        assert all(term.value.requires_grad for term in update.terms.values())
        seen += 1
    assert seen >= 1
    generator = one.method.updates(batch, 0.0)
    for _ in generator:
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu"), "a method's own autocast would leak out of its yield"


def test_inside_a_method_autocast_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    updates = SourceOnly.updates

    def watching(self: SourceOnly, batch: Batch, progress: float) -> Iterator[Update]:
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        yield from updates(self, batch, progress)

    monkeypatch.setattr(SourceOnly, "updates", watching)
    tiny.run(tmp_path / "half", change={"precision": "bf16-mixed", "steps": 1})
    tiny.run(tmp_path / "whole", change={"steps": 1})
    assert seen == [torch.bfloat16, None]


def test_loader_processes_change_no_bit(tmp_path: Path) -> None:
    """Two of them, spawned: nothing but the configuration reaches them."""
    small = {"steps": 4, "save_every": 4}
    alone = tiny.run(tmp_path / "alone", change=small)
    spawned = tiny.run(tmp_path / "spawned", change={**small, "workers": 2})
    assert tiny.same_tensors(tiny.weights(alone), tiny.weights(spawned))
    assert tiny.lines(alone) == tiny.lines(spawned)


# --- what is not finite -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_step(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates, calls = SourceOnly.updates, 0
    at_failure: dict[str, Tensor] = {}

    def poisoned(self: SourceOnly, batch: Batch, progress: float) -> Iterator[Update]:
        nonlocal calls
        calls += 1
        for update in updates(self, batch, progress):
            terms = dict(update.terms)
            if calls == 4:
                at_failure.update({key: value.clone() for key, value in self.state_dict().items()})
                if kind == "loss":
                    terms["extra"] = Term(terms["supervised"].value * float("nan"))
                else:
                    weight = self.nets.net.final.weight
                    terms["extra"] = Term((weight - weight.detach()).abs().sqrt().sum())
            yield Update(terms=terms, on=update.on)

    monkeypatch.setattr(SourceOnly, "updates", poisoned)
    one = session(tmp_path / "run")
    with pytest.raises(TrainingError) as caught:
        one.run_to_end()
    text = str(caught.value)
    assert text.startswith("step 3: extra not finite" if kind == "loss" else "step 3: the gradient not finite")
    assert "supervised" in text
    assert "train/000" in text or "figures" in text, "the images of the batch are named"
    assert "nothing was stepped or saved" in text
    assert "\n" not in text
    assert tiny.same_tensors(at_failure, one.method.state_dict())
    assert [found.step for found in one.run.checkpoints()] == [2]
    one.run.checkpoint("last").verify()
    assert one.run.manifest["outcome"].startswith("failed: step 3")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
              RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)  # fmt: skip
def test_memory_that_does_not_suffice_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates, calls = SourceOnly.updates, 0

    def hungry(self: SourceOnly, batch: Batch, progress: float) -> Iterator[Update]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise error
        yield from updates(self, batch, progress)

    monkeypatch.setattr(SourceOnly, "updates", hungry)
    one = session(tmp_path / "run")
    with pytest.raises(
        TrainingError, match=r"out of memory on cpu; lower batch_size, input_size or cache_mib"
    ) as caught:
        one.run_to_end()
    assert "\n" not in str(caught.value)
    one.run.checkpoint("last").verify()
    assert one.run.manifest["outcome"].startswith("failed: ")


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_run_that_failed_goes_on_with_the_same_bits(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        stop_after(5, TrainingError("a stop in step 5"), patch)
        with pytest.raises(TrainingError):
            tiny.run(tmp_path / "run")
    broken = open_run(tmp_path / "run")
    assert (broken.manifest["outcome"], broken.finished) == ("failed: a stop in step 5", False)
    (broken.checkpoints_path / ".draft-6-99").mkdir()
    again = tiny.run(tmp_path / "run")
    assert again.finished
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(finished))
    assert all(torch.equal(a, b) for a, b in zip(states(again), states(finished), strict=True))
    assert tiny.lines(again) == tiny.lines(finished)
    assert not list(again.checkpoints_path.glob(".draft-*"))


def test_nets_that_draw_numbers_go_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping(SmallBackbone):
        def __init__(self) -> None:
            super().__init__()
            self.stem.append(nn.Dropout(0.5))

    from poseshift.models import backbones

    monkeypatch.setattr(backbones, "SmallBackbone", Dropping)
    whole = tiny.run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(3, TrainingError("stop"), patch)
        with pytest.raises(TrainingError):
            tiny.run(tmp_path / "run")
    assert tiny.same_tensors(tiny.weights(tiny.run(tmp_path / "run")), tiny.weights(whole))


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(
    finished: Run, copy_of: Callable[[Run], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = copy_of(finished)
    run.note(outcome="running")
    file = run.checkpoints_path / "step-6" / "state.pt"
    file.write_bytes(file.read_bytes()[:-1])
    again = train(tiny.settings(), run.path, quiet=True)
    assert "state.pt: sha256" in caplog.text
    assert "falling back" in caplog.text
    assert (run.checkpoints_path / "damaged-step-6").is_dir()
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(finished))
    assert tiny.lines(again) == tiny.lines(finished)


def test_a_run_killed_after_its_last_checkpoint_has_its_pointers(finished: Run, copy_of: Callable[[Run], Run]) -> None:
    run = copy_of(finished)
    run.note(outcome="running")
    (run.checkpoints_path / "last").unlink()
    run.point("best", run.checkpoint(4))
    again = train(tiny.settings(), run.path, quiet=True)
    assert again.finished
    assert (run.checkpoints_path / "last").read_text() == "step-6\n"
    assert run.checkpoint("best").step == 6


def test_data_that_changed_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tiny.photos(tmp_path / "photos", 4)
    document = tiny.coco(tmp_path / "a.json", photos, ["a", "b"])
    change = {"source": {"data": f"coco:{tmp_path / 'a.json'}"}, "target": None}
    with monkeypatch.context() as patch:
        stop_after(3, TrainingError("stop"), patch)
        with pytest.raises(TrainingError):
            tiny.run(tmp_path / "run", change=change)
    document["annotations"][0]["keypoints"][0] += 1
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="the data of source changed since this run began"):
        tiny.run(tmp_path / "run", change=change)
    assert open_run(tmp_path / "run").checkpoint("last").step == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_finish_and_saves(
    number: signal.Signals, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, taken = Optimisers.step, 0

    def signalling(self: Optimisers, on: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == 3:
            os.kill(os.getpid(), number)
        step(self, on)

    with monkeypatch.context() as patch:
        patch.setattr(Optimisers, "step", signalling)
        with pytest.raises(Interrupted, match="interrupted, saved at step 3") as caught:
            tiny.run(tmp_path / "run")
    assert caught.value.exit_code == 128 + number
    run = open_run(tmp_path / "run")
    assert run.checkpoint("last").step == 3
    assert "interrupted, saved at step 3" in run.manifest["outcome"]
    again = tiny.run(tmp_path / "run")
    assert tiny.same_tensors(tiny.weights(again), tiny.weights(finished))


def test_a_full_disk_during_a_save_keeps_what_was_there(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = checkpoint.save_file, 0

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(28, "No space left on device")
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(CheckpointError, match=r"step-4: cannot be written .*No space left on device"):
            tiny.run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert [one.step for one in run.checkpoints()] == [2]
    assert run.checkpoint("best").step == 2
    assert not list(run.checkpoints_path.glob(".*"))
    assert tiny.same_tensors(tiny.weights(tiny.run(tmp_path / "run")), tiny.weights(finished))


# --- images that do not decode ----------------------------------------------------------------------------------------


def broken_photos(tmp_path: Path, count: int, broken: int) -> dict[str, Any]:
    photos = tiny.photos(tmp_path / "photos", count, size=(20, 16))
    tiny.coco(tmp_path / "a.json", photos, ["a", "b"])
    for photo in photos[3 : 3 + broken]:
        photo.write_bytes(photo.read_bytes()[: photo.stat().st_size * 9 // 10])
    return {"source": {"data": f"coco:{tmp_path / 'a.json'}", "boxes": "whole"}, "target": None}


def test_one_per_cent_may_not_decode_and_is_listed(tmp_path: Path) -> None:
    change = broken_photos(tmp_path, 100, 1)
    run = tiny.run(tmp_path / "run", change={**change, "steps": 13, "batch_size": 8, "save_every": 13})
    assert run.finished
    (line,) = (run.path / "quarantine.txt").read_text().splitlines()
    assert line.startswith("photos/photo03.jpg\t")


def test_more_stops_the_run_and_lists_them_all(tmp_path: Path) -> None:
    change = broken_photos(tmp_path, 100, 2)
    with pytest.raises(DataError, match="2 of 100 images do not decode, at most 1 may be skipped") as caught:
        tiny.run(tmp_path / "run", change={**change, "steps": 13, "batch_size": 8, "save_every": 20})
    assert "photos/photo0" in str(caught.value)
    listed = (tmp_path / "run" / "quarantine.txt").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == ["photos/photo03.jpg", "photos/photo04.jpg"]
    assert open_run(tmp_path / "run").manifest["outcome"].startswith("failed: ")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_mapping_will_do_for_a_configuration(tmp_path: Path) -> None:
    raw = tiny.settings(change={"steps": 1}).model_dump(mode="json")
    assert train(raw, tmp_path / "run", quiet=True).finished
    with pytest.raises(PoseshiftError, match="unknown key 'stpes'"):
        train({**raw, "stpes": 1}, tmp_path / "other", quiet=True)


def test_checkpoints_are_scored_in_evaluation_mode_and_trained_on_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    scores = scoring.scores

    def watching(method: nn.Module, *arguments: Any, **options: Any) -> dict[str, float]:
        modes.append(method.training)
        return scores(method, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "scores", watching)
    one = session(tmp_path / "run")
    one.run_to_end()
    assert modes == [False, False, False]
    assert one.method.training


def test_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    one, other = session(tmp_path / "a"), session(tmp_path / "b", change={"optimiser": {"rate": 0.5}})
    for first, second, _ in zip(one.batches(0), other.batches(0), range(3), strict=False):
        np.testing.assert_array_equal(first.source.ids, second.source.ids)
        assert torch.equal(first.source.view.images, second.source.view.images)
