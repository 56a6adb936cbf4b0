"""``benchmarks/norm_share.py``: the statistics that it puts together are what its table says."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.scripts import script

from poseshift.models.batch_norms import statistics
from poseshift.models.pose_net import PoseNet, PoseNetConfig


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_statistics_lie_between_those_of_both(share: float) -> None:
    study = script("norm_share")
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=3).eval()
    other = copy.deepcopy(net).train()
    with torch.no_grad():
        other(torch.randn(4, 3, 32, 32))
    one, two = (statistics(study.layers_of(found)) for found in (net, other))
    assert not torch.allclose(one, two)
    assert torch.allclose(statistics(study.layers_of(study.between(net, other, share))), one.lerp(two, share))
    assert torch.equal(statistics(study.layers_of(net)), one)


def test_scores_of_a_run_on_each_target(tmp_path: Path) -> None:
    study = script("norm_share")
    run = tiny.run(tmp_path / "source", "source_only")
    found = dict(study.rows(str(run.path), "figures", 4))
    assert set(found) == {f"figures {domain}" for domain in study.TARGETS["figures"]}
    assert all(len(row) == len(study.SHARES) for row in found.values())
