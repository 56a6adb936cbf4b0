from __future__ import annotations

import pytest
import torch
from torch import nn

from poseshift.models.discriminator import Discriminator


def test_the_published_size() -> None:
    net = Discriminator(256)
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_033_857
    kinds = [type(layer) for layer in net.layers]
    assert kinds == [nn.Conv2d, nn.LeakyReLU] * 3 + [nn.Conv2d], "no norm, no sigmoid, nothing after the last"
    assert {layer.negative_slope for layer in net.layers if isinstance(layer, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("channels", [8, 17, 64])
def test_one_logit_for_each_cell(channels: int) -> None:
    logits = Discriminator(channels)(torch.randn(2, channels, 6, 10))
    assert logits.shape == (2, 1, 6, 10)
    assert (logits < 0).any() or (logits > 0).any()


def test_a_logit_sees_nine_by_nine_cells() -> None:
    torch.manual_seed(0)
    net, features = Discriminator(16), torch.randn(1, 16, 15, 21, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(features)[0, 0, 7, 10], features)
    seen = gradient.abs().sum((0, 1)).nonzero()
    assert seen.amin(0).tolist() == [3, 6]
    assert seen.amax(0).tolist() == [11, 14]
