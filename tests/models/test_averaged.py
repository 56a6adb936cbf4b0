"""The moving average that methods without a teacher are evaluated by."""

from __future__ import annotations

import pytest
import torch

from poseshift.models.averaged import Averaged
from poseshift.models.pose_net import PoseNet, PoseNetConfig


@pytest.fixture
def net() -> PoseNet:
    torch.manual_seed(0)
    return PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=3)


def test_no_decay_keeps_no_average(net: PoseNet) -> None:
    nets = Averaged(net, decay=0.0)
    nets.update()
    assert nets.average is None
    assert nets.predictor is nets.net is net


def test_weights_and_statistics_are_averaged(net: PoseNet) -> None:
    nets = Averaged(net, decay=0.75)
    assert nets.predictor is nets.average is not net
    assert not any(p.requires_grad for p in nets.predictor.parameters())
    before = {name: tensor.clone() for name, tensor in nets.predictor.state_dict().items()}
    with torch.no_grad():
        for tensor in (*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())):
            tensor.add_(1.0)
    nets.update()
    for name, tensor in nets.predictor.state_dict().items():
        moved = before[name] + 0.25 if tensor.is_floating_point() else before[name]
        torch.testing.assert_close(tensor, moved)
