from __future__ import annotations

import math

import pytest
import torch

from poseshift.ops import adversarial


@pytest.mark.parametrize("coefficient", [1.0, 0.25, 0.0])
def test_the_gradient_is_reversed_and_the_value_is_kept(coefficient: float) -> None:
    x = torch.rand(2, 3, requires_grad=True)
    weight = torch.rand(2, 3)
    out = adversarial.reverse_gradient(x, coefficient)
    torch.testing.assert_close(out, x, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(gradient, -coefficient * weight)


def test_the_default_coefficient_is_the_published_one() -> None:
    x = torch.ones(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(adversarial.reverse_gradient(x).sum(), x)
    assert gradient.item() == -1


@pytest.mark.parametrize(("progress", "value"), [(0.0, 0.0), (0.1, 0.46211716), (0.5, 0.98661429), (1.0, 0.99990920)])
def test_ramp(progress: float, value: float) -> None:
    assert adversarial.dann_ramp(progress) == pytest.approx(value, abs=1e-7)


def test_ramp_steepness() -> None:
    assert adversarial.dann_ramp(0.3, steepness=2.0) == pytest.approx(math.tanh(0.3))


def test_cross_entropy_against_a_loop() -> None:
    source, target = torch.randn(2, 1, 3, 4), torch.randn(3, 1, 3, 4)
    slow_source = sum(-math.log(1 - 1 / (1 + math.exp(-z))) for z in source.flatten().tolist()) / source.numel()
    slow_target = sum(-math.log(1 / (1 + math.exp(-z))) for z in target.flatten().tolist()) / target.numel()
    found = adversarial.domain_cross_entropy(source, target)
    assert found.item() == pytest.approx(slow_source + slow_target, rel=1e-5)


def test_cross_entropy_says_source_is_low_and_survives_large_logits() -> None:
    large = torch.full((1, 1, 2, 3), 500.0)
    assert adversarial.domain_cross_entropy(-large, large).item() == 0
    assert adversarial.domain_cross_entropy(large, -large).item() == pytest.approx(1000)
