from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from poseshift.errors import UsageError
from poseshift.models.pose_net import DeconvHead, PoseNet, PoseNetConfig

IMAGES = torch.randn(2, 3, 64, 96)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("head", ["deconv", "pyramid"])
@pytest.mark.parametrize("backbone", ["small", "resnet18", "mobilenetv2_100"])
def test_shapes_of_every_head_and_stride(backbone: str, head: str, stride: int) -> None:
    net = PoseNet(PoseNetConfig(backbone=backbone, head=head, width=16, stride=stride), keypoints=5)
    output = net(IMAGES)
    assert output.heatmaps.shape == (2, 5, 64 // stride, 96 // stride)
    assert output.features.shape == (2, 16, 64 // stride, 96 // stride)
    torch.testing.assert_close(output.heatmaps, net.final(output.features))
    assert (net.stride, net.width) == (stride, 16)


@pytest.mark.parametrize("head", ["deconv", "pyramid"])
def test_all_parameters_of_the_head_get_a_gradient(head: str) -> None:
    net = PoseNet(PoseNetConfig(backbone="small", head=head, width=16), keypoints=5)
    net(IMAGES).heatmaps.square().sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_the_published_net_on_the_meta_device() -> None:
    with torch.device("meta"):
        net = PoseNet(PoseNetConfig(), keypoints=16)
        output = net(torch.empty(1, 3, 256, 256))
    assert output.features.shape == (1, 256, 64, 64)
    assert output.heatmaps.shape == (1, 16, 64, 64)
    assert net.backbone.channels[-1] == 2048
    kinds = [type(layer) for layer in net.head.layers]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * 3
    shapes = [tuple(layer.weight.shape) for layer in net.head.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert shapes == [(2048, 256, 4, 4), (256, 256, 4, 4), (256, 256, 4, 4)]
    assert all(layer.bias is None for layer in net.head.layers if isinstance(layer, nn.ConvTranspose2d))


def test_published_initial_weights() -> None:
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(backbone="small", width=64), keypoints=16)
    assert isinstance(net.head, DeconvHead)
    assert net.head.layers[0].weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert net.final.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert not net.final.bias.any()


def test_a_stride_that_the_backbone_has_not() -> None:
    with pytest.raises(UsageError, match=r"stride: 2 is not among the strides \[4, 8, 16, 32\] of convnext_atto"):
        PoseNet(PoseNetConfig(backbone="convnext_atto", stride=2), keypoints=3)


def test_deconvolutions_need_something_to_undo() -> None:
    with pytest.raises(UsageError, match=r"deconv has nothing to do at the coarsest stride 8; use head: pyramid"):
        DeconvHead([16, 32], [4, 8], 16, 8)


def test_weights_are_checked_when_the_net_is_built() -> None:
    with pytest.raises(UsageError, match="no weights to load"):
        PoseNet(PoseNetConfig(backbone="small", weights="x.safetensors"), keypoints=3)


@pytest.mark.parametrize("change", [{"stride": 3}, {"head": "simple"}, {"width": 4}, {"depth": 3}])
def test_configuration_is_strict(change: dict) -> None:
    with pytest.raises(ValidationError):
        PoseNetConfig(**change)


@pytest.mark.parametrize("head", ["deconv", "pyramid"])
def test_levels_go_from_coarse_to_fine_and_end_in_the_features(head: str) -> None:
    net = PoseNet(PoseNetConfig(backbone="resnet18", head=head, width=16), keypoints=5).eval()
    found = net.levels(IMAGES)
    strides = [16, 8, 4] if head == "deconv" else [32, 16, 8, 4]
    assert [tuple(level.shape) for level in found] == [(2, 16, 64 // s, 96 // s) for s in strides]
    assert net.head.depth == len(found)
    assert torch.equal(found[-1], net(IMAGES).features)
