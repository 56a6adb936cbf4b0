import pytest
import torch
from torch import Tensor, nn

from poseshift.models import folding
from poseshift.models.pose_net import PoseNet, PoseNetConfig


def lived(config: PoseNetConfig) -> PoseNet:
    """A net whose norms have seen something, and heatmaps that are not near zero."""
    torch.manual_seed(0)
    net = PoseNet(config, 5)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    nn.init.normal_(net.final.weight, std=1.0)
    net.train()
    for _ in range(3):
        net(torch.rand(4, 3, 64, 64))
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


@pytest.mark.parametrize("backbone", ["small", "mobilenetv2_100", "resnet18"])
@pytest.mark.parametrize("head", ["pyramid", "deconv"])
def test_it_predicts_the_same_without_norms(backbone: str, head: str) -> None:
    net = lived(PoseNetConfig(backbone=backbone, head=head, width=16))  # type: ignore[arg-type]
    net, before = net.to(memory_format=torch.channels_last), norms(net)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = net(images)
        one = folding.folded(net, 64)
        found = one(images)
        again = net(images)
    assert (norms(one), norms(net)) == (0, before), "the net itself stays as it is"
    assert before > 3
    weights = [layer.weight for layer in one.modules() if isinstance(layer, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    scale = float(expected.heatmaps.abs().amax())
    torch.testing.assert_close(found.heatmaps, expected.heatmaps, rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(again.heatmaps, expected.heatmaps, rtol=0, atol=0)
    assert torch.equal(found.heatmaps.flatten(2).argmax(-1), expected.heatmaps.flatten(2).argmax(-1))


class ReadTwice(nn.Module):
    """What lies between convolution and norm is read by another layer too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.convolution, self.norm = inner, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.strides, self.channels = inner.strides, inner.channels  # type: ignore[union-attr]
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, images: Tensor) -> list[Tensor]:
        between = self.convolution(images)
        maps: list[Tensor] = self.inner(self.norm(between) + between)
        return maps


class UsedTwice(ReadTwice):
    """One convolution before two norms."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.inner(self.norm(self.convolution(self.norm(self.convolution(images)))))
        return maps


def test_what_something_else_reads_too_is_not_folded() -> None:
    net = lived(PoseNetConfig(backbone="small", head="pyramid", width=16))
    net.backbone = ReadTwice(net.backbone)  # type: ignore[assignment]
    assert folding.folded(net.eval(), 64) is net


def test_a_layer_that_is_used_twice_keeps_its_norm() -> None:
    net = lived(PoseNetConfig(backbone="small", head="pyramid", width=16))
    net.backbone = UsedTwice(net.backbone)  # type: ignore[assignment]
    one = folding.folded(net.eval(), 64)
    assert norms(one) == 1
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(one(images).heatmaps, net(images).heatmaps, rtol=1e-4, atol=1e-4)
