"""AdaIN style transfer (Huang & Belongie, ICCV 2017): an encoder, its decoder, and equations 1 and 2.

Two encoders. ``vgg19`` is timm's VGG-19 up to relu4_1 (deviation from the published net: zero padding, and ImageNet
weights of another origin; needs a weight file). ``small`` has four levels of its own and is trained together with its
decoder, so it needs no download. Both read and write ImageNet-normalised images.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from poseshift.models import weights
from poseshift.models.backbones import TimmBackbone
from poseshift.ops import color

EPSILON = 1e-5


class StyleNetConfig(BaseModel):
    """Which encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: Literal["small", "vgg19"] = Field("small", description="Trained here, or VGG-19 with weights of yours.")
    weights: str | None = Field(None, description="VGG-19 weights: a safetensors file or 'pretrained'.")


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, both ``B×C×1×1``."""

    mean: Float[Tensor, "B C 1 1"]
    std: Float[Tensor, "B C 1 1"]


def statistics(features: Float[Tensor, "B C h w"]) -> Statistics:
    """Per sample and channel; unbiased variance plus 1e-5 under the root."""
    std = (features.var((2, 3), keepdim=True) + EPSILON).sqrt()
    return Statistics(features.mean((2, 3), keepdim=True), std)


def adain(content: Float[Tensor, "B C h w"], style: Statistics) -> Float[Tensor, "B C h w"]:
    """Eq. 1: content features ``B×C×h×w`` given the mean and deviation of a style."""
    own = statistics(content)
    return style.std * (content - own.mean) / own.std + style.mean


class _Convolution(nn.Sequential):
    """3×3 with reflected borders and a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, active: bool = True) -> None:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="reflect")]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if active else []))


class SmallEncoder(nn.Module):
    """Four levels at strides 1, 2, 4, 4; the last one is what AdaIN restyles."""

    channels = 64

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [
                _Convolution(3, 16),
                _Convolution(16, 32, 2),
                _Convolution(32, 64, 2),
                _Convolution(64, 64),
            ]
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Normalised ``B×3×H×W``, sides a multiple of 4, to the four maps, fine to coarse."""
        maps = []
        for level in self.levels:
            images = level(images)
            maps.append(images)
        return maps


class SmallDecoder(nn.Module):
    """The mirror of :class:`SmallEncoder`, nearest up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.Sequential(_Convolution(64, 64), _Convolution(64, 32))
        self.middle = _Convolution(32, 16)
        self.fine = nn.Sequential(_Convolution(16, 16), _Convolution(16, 3, active=False))

    def forward(self, features: Float[Tensor, "B 64 h w"]) -> Float[Tensor, "B 3 4*h 4*w"]:
        """Features ``B×64×h×w`` to images ``B×3×4h×4w``."""
        x = F.interpolate(self.coarse(features), scale_factor=2.0, mode="nearest")
        x = F.interpolate(self.middle(x), scale_factor=2.0, mode="nearest")
        out: Tensor = self.fine(x)
        return out


class VggEncoder(nn.Module):
    """VGG-19 up to relu4_1: maps after relu1_1, relu2_1, relu3_1, relu4_1. Frozen."""

    channels = 512
    taps = (1, 6, 11, 20)

    def __init__(self, source: str | None) -> None:
        super().__init__()
        backbone = TimmBackbone("vgg19")
        weights.initialise(backbone, "vgg19", source)
        layers = [layer for name, layer in backbone.net.named_children() if name.startswith("features_")]
        self.layers = nn.Sequential(*layers[: self.taps[-1] + 1])
        self.requires_grad_(False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Normalised ``B×3×H×W``, sides a multiple of 8, to the four maps, fine to coarse."""
        maps = []
        for index, layer in enumerate(self.layers):
            images = layer(images)
            if index in self.taps:
                maps.append(images)
        return maps


class VggDecoder(nn.Module):
    """The mirror of VGG-19 to relu4_1: reflected borders, nearest up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.layers = nn.Sequential(
            _Convolution(512, 256), up, *(_Convolution(256, 256) for _ in range(3)), _Convolution(256, 128), up,
            _Convolution(128, 128), _Convolution(128, 64), up, _Convolution(64, 64), _Convolution(64, 3, active=False),
        )  # fmt: skip

    def forward(self, features: Float[Tensor, "B 512 h w"]) -> Float[Tensor, "B 3 8*h 8*w"]:
        """Features ``B×512×h×w`` to images ``B×3×8h×8w``."""
        out: Tensor = self.layers(features)
        return out


class StyleNet(nn.Module):
    """Encoder f and decoder g. Raises :class:`UsageError` or :class:`DataError` where weights cannot be loaded."""

    def __init__(self, config: StyleNetConfig) -> None:
        super().__init__()
        small = config.encoder == "small"
        self.encoder = SmallEncoder() if small else VggEncoder(config.weights)
        self.decoder = SmallDecoder() if small else VggDecoder()
        self.channels = self.encoder.channels

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Features ``B×C×h×w`` of the last level."""
        out: Tensor = self.encoder(images)[-1]
        return out

    def stylise(
        self,
        content: Float[Tensor, "B 3 H W"],
        style: Statistics,
        strength: Float[Tensor, ""] | Float[Tensor, "#B 1 1 1"],
    ) -> Float[Tensor, "B 3 H W"]:
        """Eq. 2: ``g(η·AdaIN(f(x), style) + (1 - η)·f(x))``, cut to the valid range.

        Args:
            content: Normalised images ``B×3×H×W``.
            style: Statistics of one style a sample.
            strength: η in [0, 1], a scalar or ``B×1×1×1``.
        """
        features = self.encode(content).to(content.dtype)  # under autocast they are narrower than the statistics
        mixed = torch.lerp(features, adain(features, style), strength)
        return color.clamp_normalised(self.decoder(mixed).to(content.dtype))
