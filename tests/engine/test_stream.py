from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import Tensor, nn

from poseshift.data import augment
from poseshift.engine import stream as streams
from poseshift.engine.run import Run
from poseshift.engine.stream import BATCH, FEW, Stream
from poseshift.errors import TrainingError, UsageError
from poseshift.methods import METHODS, TEST_TIME
from poseshift.models.pose_net import PoseNet

CPU = torch.device("cpu")
every_way = pytest.mark.parametrize("how", TEST_TIME)


def crops(count: int, *, seed: int = 0, side: int = 40) -> Tensor:
    """Dark pictures, unlike the source's."""
    return torch.randint(
        0, 90, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def adapted(run: Run, how: str, *batches: Tensor) -> PoseNet:
    net = run.predictor("last")
    stream = Stream(net, how, run, device=CPU)
    for batch in batches:
        stream.see(batch)
    return net


@every_way
def test_the_same_inputs_give_the_same_net(how: str, finished: Run) -> None:
    one, other = (weights(adapted(finished, how, crops(3), crops(4, seed=1))) for _ in range(2))
    torch.manual_seed(5)
    third = weights(adapted(finished, how, crops(3), crops(4, seed=2)))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


@every_way
def test_what_moves(how: str, finished: Run) -> None:
    before, after = weights(finished.predictor("last")), weights(adapted(finished, how, crops(5)))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if "running" in name}
    norms = {name.replace("running_mean", kind) for name in statistics for kind in ("weight", "bias")}
    assert statistics <= moved
    assert moved <= statistics | norms
    assert bool(moved - statistics) == (how != "statistics")


def test_statistics_are_of_plain_images_without_their_margin(finished: Run) -> None:
    net, pictures = finished.predictor("last"), crops(6)
    expected = copy.deepcopy(net)
    Stream(net, "statistics", finished, device=CPU).see(pictures)
    with torch.no_grad():
        first = expected.backbone.stem[0](augment.plain(pictures, size=32).images)
    mean = (4 * expected.backbone.stem[1].running_mean + 6 * first.mean((0, 2, 3))) / 10
    torch.testing.assert_close(net.backbone.stem[1].running_mean, mean)
    assert not net.training


@every_way
def test_one_line_says_what_was_done_and_few_images_are_warned_of(
    how: str, finished: Run, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(finished.predictor("last"), how, finished, device=CPU)
    stream.see(crops(FEW - 1))
    with caplog.at_level(logging.INFO):
        stream.say()
    said, warned = caplog.messages
    assert said == f"adapted {TEST_TIME[how].moves} to {FEW - 1} images in 1 batches"
    assert warned.startswith(f"{FEW - 1} images are few to adapt to: with fewer than {FEW} ")
    assert "\n" not in warned
    stream.see(crops(1))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        stream.say()
    assert caplog.messages == [f"adapted {TEST_TIME[how].moves} to {FEW} images in 2 batches"]


def test_ways_are_methods_that_need_the_target_alone() -> None:
    assert list(TEST_TIME) == ["statistics", "entropy", "consistency"]
    for way in TEST_TIME.values():
        assert way.config.needs == {"target"}
        assert isinstance(way.config, METHODS[way.config.name].Config)
    assert BATCH >= 2


def test_what_cannot_be_adapted_is_refused(finished: Run) -> None:
    with pytest.raises(UsageError, match=r"adapt: 'tent' is unknown; expected one of statistics, entropy, consist"):
        Stream(finished.predictor("last"), "tent", finished, device=CPU)
    net = finished.predictor("last")
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    with pytest.raises(UsageError, match="no BatchNorm layer"):
        Stream(net, "statistics", finished, device=CPU)


def test_what_is_not_finite_is_not_stepped(finished: Run) -> None:
    net = finished.predictor("last")
    net.final.weight.data[0] = torch.nan
    stream = Stream(net, "entropy", finished, device=CPU)
    before = {name: p.clone() for name, p in net.named_parameters()}
    with pytest.raises(TrainingError, match=r"adapt: entropy not finite in batch 1; predict without --adapt"):
        stream.see(crops(4))
    assert all(torch.equal(p, before[name]) or name == "final.weight" for name, p in net.named_parameters())


def test_updates_go_on_from_batch_to_batch(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step a batch, at the stream's rate and not the run's."""
    net = finished.predictor("last")
    stream = Stream(net, "entropy", finished, device=CPU)
    shifts = [net.backbone.stem[1].bias.detach().clone()]
    for seed in range(2):
        stream.see(crops(4, seed=seed))
        shifts.append(net.backbone.stem[1].bias.detach().clone())
    assert (shifts[1] - shifts[0]).abs().max().item() == pytest.approx(streams.OPTIMISER.rate, rel=1e-2)
    assert not torch.equal(shifts[2], shifts[1])
