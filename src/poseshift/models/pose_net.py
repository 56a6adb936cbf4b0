"""The pose net: a backbone and a head that turns its features into heatmaps.

Two heads. ``deconv`` is the published one (Simple Baseline): transposed convolutions from the coarsest map up to the
heatmaps' stride. ``pyramid`` is light: every map is projected to ``width`` channels and added top-down, with a
depthwise-separable convolution at each level; for nets that must train on a CPU. Both hand out the tensor that the last
1×1 convolution reads, which is what the discriminator sees.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from poseshift.errors import UsageError
from poseshift.models import backbones, weights


class PoseNetConfig(BaseModel):
    """What the pose net is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str = Field("resnet101", description="A timm model name, or 'small'.")
    head: Literal["deconv", "pyramid"] = Field("deconv", description="Published deconvolutions, or the light pyramid.")
    width: int = Field(256, ge=8, description="Channels of the head.")
    stride: Literal[2, 4, 8] = Field(4, description="Pixels of the input to one cell of the heatmaps.")
    weights: str | None = Field(
        None, description="Initial backbone weights: a safetensors file, 'pretrained', or none."
    )
    channels_last: bool = Field(True, description="Memory format; faster on most devices.")


class PoseOutput(NamedTuple):
    """Heatmaps ``B×K×h×w`` (raw, no activation) and the features ``B×C×h×w`` that the last layer reads."""

    heatmaps: Float[Tensor, "B K h w"]
    features: Float[Tensor, "B C h w"]


class DeconvHead(nn.Module):
    """Transposed convolutions 4×4 of stride 2, each with BatchNorm and ReLU (Xiao et al., ECCV 2018)."""

    def __init__(self, channels: list[int], strides: list[int], width: int, stride: int) -> None:
        super().__init__()
        steps = (strides[-1] // stride).bit_length() - 1
        if not steps:
            raise UsageError(f"model.head: deconv has nothing to do at the coarsest stride {stride}; use head: pyramid")
        layers: list[nn.Module] = []
        for inputs in [channels[-1], *[width] * (steps - 1)][:steps]:
            layers += [
                nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.001)
        self.depth = len(layers) // 3

    def levels(self, maps: list[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        """Features after each of the ``depth`` transposed convolutions, coarse to fine."""
        x, found = maps[-1], []
        for number, layer in enumerate(self.layers, 1):
            x = layer(x)
            if number % 3 == 0:
                found.append(x)
        return found

    def forward(self, maps: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
        """Features of the heatmaps' stride from the coarsest map."""
        return self.levels(maps)[-1]


class PyramidHead(nn.Module):
    """Top-down sum of projected maps, a depthwise-separable convolution at each level."""

    def __init__(self, channels: list[int], strides: list[int], width: int, stride: int) -> None:
        super().__init__()
        self.first = strides.index(stride)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[self.first :])
        self.smooth = nn.ModuleList(self._smooth(width) for _ in channels[self.first :])
        self.depth = len(self.lateral)

    @staticmethod
    def _smooth(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def levels(self, maps: list[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        """Features at each of the ``depth`` levels, coarse to fine, from all maps that are not finer."""
        levels = list(zip(maps[self.first :], self.lateral, self.smooth, strict=True))
        coarsest, lateral, smooth = levels[-1]
        found: list[Tensor] = [smooth(lateral(coarsest))]
        for features, lateral, smooth in reversed(levels[:-1]):
            above = F.interpolate(found[-1], size=features.shape[-2:], mode="bilinear", align_corners=False)
            found.append(smooth(lateral(features) + above))
        return found

    def forward(self, maps: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
        """Features of the heatmaps' stride."""
        return self.levels(maps)[-1]


HEADS: dict[str, type[DeconvHead] | type[PyramidHead]] = {"deconv": DeconvHead, "pyramid": PyramidHead}


class PoseNet(nn.Module):
    """Images ``B×3×H×W`` to :class:`PoseOutput`; ``H`` and ``W`` must be multiples of the backbone's coarsest stride.

    Attributes:
        stride: Pixels a cell.
        logit_sigma: Where the heatmaps are logits, sigma (in cells) of the Gaussian that their softmax is trained to
            be; None where they are heatmaps as drawn. Whoever reads their values asks for it.

    Raises:
        UsageError: A backbone that does not exist, or whose strides do not contain the head's.
    """

    def __init__(self, config: PoseNetConfig, keypoints: int) -> None:
        super().__init__()
        self.backbone = backbones.build(config.backbone)
        if config.stride not in self.backbone.strides:
            raise UsageError(
                f"model.stride: {config.stride} is not among the strides {self.backbone.strides} of {config.backbone}; "
                "choose one"
            )
        self.stride = config.stride
        self.logit_sigma: float | None = None
        self.width = config.width
        self.head = HEADS[config.head](self.backbone.channels, self.backbone.strides, config.width, config.stride)
        self.final = nn.Conv2d(config.width, keypoints, 1)
        nn.init.normal_(self.final.weight, std=0.001)
        nn.init.zeros_(cast("Tensor", self.final.bias))
        weights.initialise(self.backbone, config.backbone, config.weights)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PoseOutput:
        """Heatmaps ``B×K×H/stride×W/stride`` of normalised images, and their features."""
        features = self.head(self.backbone(images))
        return PoseOutput(self.final(features), features)

    def levels(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C _ _"]]:
        """The head's features at its ``head.depth`` levels, coarse to fine; the last is what ``final`` reads."""
        return self.head.levels(self.backbone(images))
