from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests import tiny
from torch import Tensor

from poseshift.data.loaders import Share
from poseshift.engine import estimate
from poseshift.engine.train import Session, train


def session(method: str, change: dict[str, object], folder: Path) -> Session:
    one = Session(tiny.settings(method, change), folder, None, command="", quiet=True)
    one.method.train()
    return one


@contextmanager
def kept(one: Session) -> Iterator[list[int]]:
    """Bytes that autograd really keeps in each graph, each tensor once, parameters left out."""
    own = {p.data_ptr() for p in (*one.method.parameters(), *one.method.buffers())}
    seen: dict[int, int] = {}
    total: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        total[:] = [sum(seen.values())]
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield total


@pytest.mark.parametrize("method", ["source_only", "uniframe", "multilevel", "shot", "maps"])
@pytest.mark.parametrize("batch", [12])
def test_it_is_what_a_step_of_the_whole_batch_keeps(
    method: str, batch: int, change: dict[str, str], tmp_path: Path
) -> None:
    given = {} if method == "source_only" else change
    one = session(method, {**given, "batch_size": batch}, tmp_path / "run")
    said = one.memory()
    with kept(one) as total:
        updates = one.method.updates(next(one.batches(0)), 0.0)
        update = next(updates)
    assert said.activations == pytest.approx(total[0], rel=0.1)
    one.optimisers.gradients(one.fabric, update)
    one.optimisers.step(update.on)
    gradients = [p.grad for p in one.method.parameters() if p.grad is not None]
    assert said.gradients == sum(g.numel() * 4 for g in gradients)
    states = [v for o in one.optimisers.optimisers.values() for s in o.state.values() for v in s.values()]
    assert said.optimiser == pytest.approx(sum(v.numel() * 4 for v in states), rel=0.01)
    held = [*one.method.parameters(), *one.method.buffers()]
    assert said.weights == sum(v.numel() * v.element_size() for v in held)
    assert said.device == said.weights + said.gradients + said.optimiser + said.activations


def test_looking_moves_nothing(change: dict[str, str], tmp_path: Path) -> None:
    one = session("multilevel", dict(change), tmp_path / "run")
    before = {key: value.clone() for key, value in one.method.state_dict().items()}
    samples = [next(one._batches(Share.of(size), workers=0)(0)) for size in estimate.SAMPLES]
    state = torch.get_rng_state()
    estimate.memory(one.method, (samples[0], samples[1]), one.data, one.config, autocast=one.fabric.autocast)
    assert tiny.same_tensors(before, one.method.state_dict())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in one.method.parameters())


@pytest.mark.parametrize(
    ("optimiser", "copies"), [({"name": "sgd"}, 1), ({"name": "sgd", "momentum": 0}, 0), ({"name": "adamw"}, 2)]
)
def test_optimisers_differ(optimiser: dict[str, object], copies: int, tmp_path: Path) -> None:
    said = session("source_only", {"optimiser": optimiser}, tmp_path / "run").memory()
    assert said.optimiser == copies * said.gradients


def test_half_precision_keeps_less(tmp_path: Path) -> None:
    whole = session("source_only", {"batch_size": 64}, tmp_path / "whole").memory()
    half = session("source_only", {"batch_size": 64, "precision": "bf16-mixed"}, tmp_path / "half").memory()
    assert half.activations < 0.8 * whole.activations


def test_a_line_of_it_is_logged_unless_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny.settings(change={"steps": 2}), tmp_path / "loud", quiet=False)
    lines = [record.message for record in caplog.records if record.message.startswith("memory: about ")]
    assert len(lines) == 1
    for word in ("weights", "gradients", "optimiser", "activations", "MiB"):
        assert word in lines[0]
    assert lines[0] in (tmp_path / "loud" / "log.txt").read_text()
    caplog.clear()
    train(tiny.settings(change={"steps": 2}), tmp_path / "quiet", quiet=True)
    assert "memory" not in caplog.text
    assert "memory" not in (tmp_path / "quiet" / "log.txt").read_text()


def test_loud_and_quiet_runs_have_the_same_bits(tmp_path: Path, change: dict[str, str]) -> None:
    settings = tiny.settings("multilevel", {**change, "steps": 2})
    one, other = (train(settings, tmp_path / str(quiet), quiet=quiet) for quiet in (True, False))
    assert tiny.same_tensors(tiny.weights(one), tiny.weights(other))


def test_sizes_are_readable() -> None:
    memory = estimate.Memory(weights=3 * 2**20, gradients=2**20, optimiser=0, activations=5 * 2**30, crops=0)
    assert str(memory) == (
        "memory: about 5.0 GiB for training (weights 3 MiB, gradients 1 MiB, optimiser 0 MiB, activations 5.0 GiB) "
        "and 0 MiB for decoded images"
    )
