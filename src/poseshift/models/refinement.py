"""What UDA-Animal adds to a pose net: a block that refines its heatmaps from all levels, and a classifier of domains.

Li and Lee, CVPR 2021. Both read the levels of the net's head (:meth:`PoseNet.levels`), which the block brings to one
size; the coarser a level, the more convolutions it passes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Refined(NamedTuple):
    """Two branches' heatmaps ``B×K×h×w``, and the levels side by side that both read, ``B×(L·C)×h×w``."""

    heatmaps: Float[Tensor, "B K h w"]
    other: Float[Tensor, "B K h w"]
    features: Float[Tensor, "B LC h w"]


class _Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with BatchNorm beside a 1×1 one: ``B×C×h×w`` to ``B×C'×h×w``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.body = nn.Sequential(
            *self._layers(inputs, half, 1),
            nn.ReLU(inplace=True),
            *self._layers(half, half, 3),
            nn.ReLU(inplace=True),
            *self._layers(half, outputs, 1),
        )
        self.skip = nn.Sequential(*self._layers(inputs, outputs, 1))

    @staticmethod
    def _layers(inputs: int, outputs: int, side: int) -> tuple[nn.Module, nn.Module]:
        return nn.Conv2d(inputs, outputs, side, 1, side // 2, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "B _ h w"]) -> Float[Tensor, "B _ h w"]:
        return F.relu(self.body(x) + self.skip(x))


class Refinement(nn.Module):
    """The refinement block, with two branches that end in heatmaps.

    Args:
        levels: ``L``, the levels of the head.
        channels: ``C``, of each level.
        keypoints: ``K``.
    """

    def __init__(self, levels: int, channels: int, keypoints: int) -> None:
        super().__init__()
        counts = reversed(range(levels))
        self.cascade = nn.ModuleList(
            nn.Sequential(*(_Bottleneck(channels, channels) for _ in range(count))) for count in counts
        )
        self.branches = nn.ModuleList(self._branch(levels * channels, channels, keypoints) for _ in range(2))

    @staticmethod
    def _branch(inputs: int, channels: int, keypoints: int) -> nn.Sequential:
        last = nn.Conv2d(channels, keypoints, 3, 1, 1)
        nn.init.normal_(last.weight, std=0.001)
        nn.init.zeros_(cast("Tensor", last.bias))
        return nn.Sequential(_Bottleneck(inputs, channels), last)

    def forward(self, levels: list[Float[Tensor, "B C _ _"]]) -> Refined:
        """Heatmaps of the size of the last, finest level."""
        size = levels[-1].shape[-2:]
        passed = [layers(level) for layers, level in zip(self.cascade, levels, strict=True)]
        same = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in passed]
        features = torch.cat(same, 1)
        first, second = self.branches
        return Refined(first(features), second(features), features)


class DomainClassifier(nn.Module):
    """Five convolutions of stride 2, LeakyReLU(0.1) between, no norm: few logits for the whole of an image.

    Widths are ``C/4``, doubled each time. Kernels of 3×3 with a border of one cell fit maps of every size.

    Args:
        inputs: Channels that it reads.
        channels: ``C`` of one level.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        widths = [inputs, *(max(channels // 4, 1) * 2**power for power in range(5))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1, bias=False))

    def forward(self, features: Float[Tensor, "B LC h w"]) -> Float[Tensor, "B 1 _ _"]:
        """Logits ``B×1×⌈h/32⌉×⌈w/32⌉`` of features; positive says target."""
        logits: Tensor = self.layers(features)
        return logits
