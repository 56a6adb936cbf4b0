"""``benchmarks/step_options.py`` on a tiny net."""

from __future__ import annotations

import pytest
import torch
from tests.scripts import script


def test_every_option_stands_beside_what_it_replaces() -> None:
    options = script("step_options")
    found = options.rows(options.CASES["tiny"], compiled=False)
    assert [(what, base) for _, what, base, _, _ in found] == [
        ("one pass", "two passes, 32 bits"),
        ("bf16", "two passes, 32 bits"),
        ("Adam fused", "Adam over lists"),
    ]
    assert all(one > 0 and other > 0 for *_, one, other in found)
    text = options.table([("net", "one pass", "two passes", 0.3, 0.2)], 0.5)
    assert text.endswith("| net | one pass | 300 | two passes | 200 | 1.50 |\n")
    assert "load 0.5" in text


@pytest.mark.parametrize("options", [{}, {"together": True}, {"bf16": True}])
def test_a_step_gives_every_parameter_a_gradient(options: dict[str, bool]) -> None:
    script_ = script("step_options")
    net = script_.PoseNet(script_.CASES["tiny"].model, keypoints=3).train()
    images = (torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32))
    script_.step(net, images, **options)
    assert all(parameter.grad is not None for parameter in net.parameters())
