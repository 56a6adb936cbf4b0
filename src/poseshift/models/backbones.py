"""Feature pyramids: any timm net with ``features_only``, or the small one that trains from scratch on a CPU."""

from __future__ import annotations

import difflib
from typing import Any, Protocol, cast

from torch import Tensor, nn

from poseshift.errors import UsageError

SMALL = "small"


class Backbone(Protocol):
    """A net that returns feature maps from fine to coarse, with their channels and strides."""

    channels: list[int]
    strides: list[int]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Feature maps of ``B×3×H×W``."""


class TimmBackbone(nn.Module):
    """A timm net as a feature pyramid."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        known = timm.is_model(name)
        if not known:
            near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=5)) or "none alike"
            raise UsageError(f"model.backbone: {name!r} is no timm model and not '{SMALL}'; similar names: {near}")
        self.net = timm.create_model(name, features_only=True, pretrained=False)
        info: Any = self.net.feature_info
        self.channels: list[int] = list(info.channels())
        self.strides: list[int] = [int(r) for r in info.reduction()]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of ``B×3×H×W``, fine to coarse."""
        return cast("list[Tensor]", self.net(images))


class _Block(nn.Module):
    """Two 3×3 convolutions with a residual path; the first may halve the map."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """``B×C×h×w`` to ``B×C'×h'×w'``."""
        return cast("Tensor", self.activation(self.body(x) + self.skip(x)))


class SmallBackbone(nn.Module):
    """Four residual stages at strides 2, 4, 8, 16; 0.22 M parameters."""

    channels = [16, 32, 64, 96]  # noqa: RUF012
    strides = [2, 4, 8, 16]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        pairs = zip([16, *self.channels[:-1]], self.channels, [1, 2, 2, 2], strict=True)
        self.stages = nn.ModuleList(_Block(i, o, s) for i, o, s in pairs)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of ``B×3×H×W``, fine to coarse."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def build(name: str) -> TimmBackbone | SmallBackbone:
    """The backbone of that name, with random weights. Raises :class:`UsageError` for an unknown name."""
    return SmallBackbone() if name == SMALL else TimmBackbone(name)
