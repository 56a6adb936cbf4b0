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


def test_confusion_is_the_cross_entropy_of_both_domains_and_reverses_the_gradient() -> None:
    torch.manual_seed(0)
    net = Discriminator(8)
    source, target = (torch.randn(2, 8, 5, 7, requires_grad=True) for _ in range(2))
    value = net.confusion(source, target, 0.5)
    wanted = nn.functional.softplus(net(source)).mean() + nn.functional.softplus(-net(target)).mean()
    torch.testing.assert_close(value, wanted)
    reversed_, plain = torch.autograd.grad(value, source)[0], torch.autograd.grad(wanted, source)[0]
    torch.testing.assert_close(reversed_, -0.5 * plain)
    own = torch.autograd.grad(net.confusion(source, target, 0.5), net.layers[0].weight)[0]  # type: ignore[arg-type]
    same = torch.autograd.grad(
        nn.functional.softplus(net(source)).mean() + nn.functional.softplus(-net(target)).mean(),
        net.layers[0].weight,  # type: ignore[arg-type]
    )[0]
    torch.testing.assert_close(own, same)
