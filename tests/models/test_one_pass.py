"""One pass over two batches against two passes: outputs, gradients, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from poseshift.models import one_pass, synced_norms
from poseshift.models.pose_net import PoseNet, PoseNetConfig, PoseOutput


def net(backbone: str, head: str) -> PoseNet:
    torch.manual_seed(0)
    made = PoseNet(PoseNetConfig(backbone=backbone, head=head, width=16), keypoints=3)  # type: ignore[arg-type]
    nn.init.normal_(made.final.weight, std=0.3)
    return made.to(memory_format=torch.channels_last).double()  # type: ignore[call-overload,no-any-return]


def batches() -> list[Tensor]:
    """Two domains, one brighter, of different numbers of images that are not square."""
    draws = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, 3, 32, 64, generator=draws, dtype=torch.float64),
        2 + 3 * torch.randn(3, 3, 32, 64, generator=draws, dtype=torch.float64),
    ]


def loss(found: list[PoseOutput]) -> Tensor:
    return sum(
        ((n * one.heatmaps).square().mean() + one.features.mean() for n, one in enumerate(found, 1)), torch.zeros(())
    )


@pytest.mark.parametrize(
    ("backbone", "head"), [("small", "pyramid"), ("small", "deconv"), ("mobilenetv2_035", "pyramid")]
)
def test_it_is_two_passes(backbone: str, head: str) -> None:
    """In double precision, so that what differs in more than the last bits is seen."""
    one = net(backbone, head)
    two = copy.deepcopy(one)
    together, successive = one_pass.outputs(one, batches()), [two(images) for images in batches()]
    for found, expected in zip(together, successive, strict=True):
        torch.testing.assert_close(found.heatmaps, expected.heatmaps)
        torch.testing.assert_close(found.features, expected.features)
    loss(together).backward()
    loss(successive).backward()
    for (name, found), expected in zip(one.named_parameters(), two.parameters(), strict=True):
        assert found.grad is not None, name
        torch.testing.assert_close(found.grad, expected.grad, msg=name)
    before = net(backbone, head).state_dict()
    for name, buffer in one.named_buffers():
        torch.testing.assert_close(buffer, two.get_buffer(name), msg=name)
        assert not torch.equal(buffer, before[name]), "running statistics move"


def test_statistics_are_not_shared() -> None:
    """The same images beside another partner give the same maps; as one plain batch they do not."""
    one, (dark, bright) = net("small", "pyramid"), batches()
    alone = one(dark).heatmaps
    torch.testing.assert_close(one_pass.outputs(one, [dark, bright])[0].heatmaps, alone)
    mixed = one(torch.cat((dark, bright))).heatmaps[: len(dark)]
    assert bool((mixed - alone).abs().max() > 0.01 * alone.abs().max())


def test_layers_are_as_before_whatever_happens() -> None:
    one = net("small", "pyramid")
    synced_norms.synchronise(one)
    own = [layer.forward for layer in one.modules() if isinstance(layer, nn.BatchNorm2d)]
    one_pass.outputs(one, batches())
    with pytest.raises(RuntimeError):
        one_pass.outputs(one, [torch.ones(1, 3, 64, 64)])
    assert [layer.forward for layer in one.modules() if isinstance(layer, nn.BatchNorm2d)] == own
    plain = net("small", "pyramid")
    one_pass.outputs(plain, batches())
    assert not any("forward" in layer.__dict__ for layer in plain.modules())


def test_in_evaluation_mode_nothing_moves() -> None:
    one = net("small", "pyramid").eval()
    before = copy.deepcopy(one.state_dict())
    found = one_pass.outputs(one, batches())
    torch.testing.assert_close(found[1].heatmaps, one(batches()[1]).heatmaps)
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())


def test_a_map_depends_on_the_features_beside_it() -> None:
    """The engine measures gradients there."""
    for found in one_pass.outputs(net("small", "pyramid"), batches()):
        (gradient,) = torch.autograd.grad(found.heatmaps.sum(), found.features)
        assert gradient.any()
