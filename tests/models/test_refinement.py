from __future__ import annotations

import pytest
import torch

from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.models.refinement import DomainClassifier, Refinement

IMAGES = torch.randn(2, 3, 64, 96)


@pytest.mark.parametrize(("head", "levels"), [("deconv", 2), ("pyramid", 3)])
def test_it_refines_the_levels_of_either_head(head: str, levels: int) -> None:
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(backbone="small", head=head, width=16), keypoints=5)
    assert net.head.depth == levels
    refined = Refinement(levels, 16, 5)(net.levels(IMAGES))
    assert refined.heatmaps.shape == refined.other.shape == (2, 5, 16, 24)
    assert refined.features.shape == (2, 16 * levels, 16, 24)
    assert not torch.equal(refined.heatmaps, refined.other), "two branches of their own"


def test_coarser_levels_pass_more_and_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    block = Refinement(3, 8, 5)
    assert [len(layers) for layers in block.cascade] == [2, 1, 0]
    levels = [torch.randn(2, 8, 4 * 2**power, 6 * 2**power, requires_grad=True) for power in range(3)]
    refined = block(levels)
    assert torch.equal(refined.features[:, 16:], levels[2])
    (refined.heatmaps.square().sum() + refined.other.square().sum()).backward()
    assert not [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(level.grad is not None and level.grad.any() for level in levels)


@pytest.mark.parametrize("size", [(64, 64), (16, 24), (4, 4), (1, 1)])
def test_the_classifier_takes_maps_of_every_size(size: tuple[int, int]) -> None:
    classifier = DomainClassifier(24, 8)
    assert classifier(torch.randn(2, 24, *size)).shape == (2, 1, *(-(-side // 32) for side in size))
    widths = [layer.out_channels for layer in classifier.layers if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 32, 1]


def test_the_classifier_lets_a_gradient_through() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 64, 16, 16, requires_grad=True)
    DomainClassifier(64, 64)(features).sum().backward()
    assert features.grad is not None
    assert features.grad.norm() > 1e-3
