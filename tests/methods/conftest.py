"""A tiny pose net, an untrained style net and random batches for the tests of single methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from poseshift.batches import Batch, SourceBatch, TargetBatch, View
from poseshift.draws import Draws
from poseshift.methods.base import Context, HeatmapConfig
from poseshift.models.adain import StyleNet, StyleNetConfig
from poseshift.models.pose_net import PoseNet, PoseNetConfig
from poseshift.ops import affine, color

COUNT, KEYPOINTS, TARGETS = 4, 3, 6
HEIGHT, WIDTH = 64, 96


def _net() -> PoseNet:
    torch.manual_seed(1)
    net = PoseNet(PoseNetConfig(backbone="small", head="pyramid", width=16), keypoints=KEYPOINTS)
    with torch.no_grad():
        net.final.weight.mul_(100)
    return net


@pytest.fixture
def context() -> Callable[..., Context]:
    def build(*, style: bool = True) -> Context:
        torch.manual_seed(0)
        net = StyleNet(StyleNetConfig()) if style else None
        return Context(net=_net, style=net, heatmap=HeatmapConfig(), targets=TARGETS)

    return build


@pytest.fixture
def targets() -> TargetBatch:
    """All target images as they are, for ``refresh``."""
    pictures = torch.rand(TARGETS, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(9))
    view = View(images=color.normalise(pictures), matrix=torch.eye(3).expand(TARGETS, 3, 3))
    return TargetBatch(student=view, teacher=(view,), ids=torch.arange(TARGETS))


@pytest.fixture
def batch() -> Callable[..., Batch]:
    def build(*, source: bool = True, target: bool = True, step: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(50 + step)

        def view() -> View:
            angle = torch.rand(COUNT, generator=generator) - 0.5
            block = affine.rotation_shear_scale(angle, angle / 2, torch.ones(COUNT))
            matrix = affine.linear(block, centre=torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]))
            pictures = torch.rand(COUNT, 3, HEIGHT, WIDTH, generator=generator)
            return View(images=color.normalise(pictures), matrix=matrix)

        keypoints = torch.rand(COUNT, KEYPOINTS, 2, generator=generator) * torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])
        visible = torch.tensor([2, 1, 0], dtype=torch.uint8).expand(COUNT, -1)
        labelled = SourceBatch(view=view(), keypoints=keypoints, visible=visible, ids=torch.arange(COUNT))
        unlabelled = TargetBatch(student=view(), teacher=(view(),), ids=torch.tensor([3, 0, 5, 1]))
        return Batch(
            draws=Draws(seed=0, step=step, start=0, count=COUNT, total=COUNT, device=torch.device("cpu")),
            source=labelled if source else None,
            target=unlabelled if target else None,
        )

    return build
