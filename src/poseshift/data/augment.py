"""Draw a view: one matrix and one photometric change a sample, batched, on the model's device.

Geometry is drawn about the centre of the canonical frame in the published order ``T·R·S·Sh`` (translate, rotate, scale,
shear); crop and augmentation are one resampling of the base crop from the composed matrix.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from poseshift.batches import View
from poseshift.draws import Draws
from poseshift.ops import affine, color

NOISE_TILE = 512
BLUR_RADIUS = 3


class AugmentConfig(BaseModel):
    """Ranges of one view; a range of 0 leaves that change out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: float = Field(60.0, ge=0, le=180, description="Degrees, ±.")
    shear: float = Field(30.0, ge=0, lt=90, description="Degrees along x, ±.")
    translation: float = Field(0.05, ge=0, le=1, description="Fraction of the side, ±, along x and y.")
    scale: tuple[float, float] = Field((0.8, 1.3), description="Factor of the picture's size, drawn log-uniformly.")
    brightness: float = Field(0.25, ge=0, lt=1, description="Factor 1 ±.")
    contrast: float = Field(0.25, ge=0, lt=1, description="Factor 1 ±.")
    saturation: float = Field(0.25, ge=0, le=1, description="Factor 1 ±.")
    cast: float = Field(0.0, ge=0, lt=1, description="Factor 1 ± of each channel on its own.")
    noise: float = Field(0.0, ge=0, le=1, description="Largest standard deviation of Gaussian noise.")
    blur: float = Field(0.0, ge=0, le=2, description="Largest sigma of a Gaussian blur, pixels.")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {list(scale)}: expected 0 < low <= high")
        return scale


NONE = AugmentConfig(
    rotation=0,
    shear=0,
    translation=0,
    scale=(1.0, 1.0),
    brightness=0,
    contrast=0,
    saturation=0,
    cast=0,
    noise=0,
    blur=0,
)


def draw(base: Tensor, config: AugmentConfig, draws: Draws, *, size: int, stream: str) -> View:
    """One augmented view of base crops.

    Args:
        base: ``B×3×S×S`` RGB, uint8: the canonical frame with a margin of ``(S - size) / 2`` pixels on each side.
        config: Ranges.
        draws: Random numbers of this step.
        size: Side of the canonical frame and of the view.
        stream: Name of the random stream, one for each view of a step.
    """
    numbers = draws.per_sample(stream, 16)
    matrix = _matrix(config, numbers, size)
    margin = (base.shape[-1] - size) // 2
    to_canonical = affine.translation(torch.full((len(base), 2), -float(margin), device=base.device))
    pictures = affine.warp(base.float().div_(255), matrix @ to_canonical, (size, size))
    return View(images=color.normalise(_photometric(pictures, config, numbers).clamp(0, 1)), matrix=matrix)


def plain(base: Tensor, *, size: int) -> View:
    """The canonical frame itself."""
    margin = (base.shape[-1] - size) // 2
    pictures = base[..., margin : margin + size, margin : margin + size].float().div(255)
    return View(images=color.normalise(pictures), matrix=affine.identity(len(base), like=pictures))


def _matrix(config: AugmentConfig, numbers: Tensor, size: int) -> Tensor:
    signed = 2 * numbers - 1
    angle = signed[:, 0] * math.radians(config.rotation)
    shear = signed[:, 1] * math.radians(config.shear)
    low, high = (math.log(value) for value in config.scale)
    scale = (low + numbers[:, 2] * (high - low)).exp()
    centre = numbers.new_full((2,), (size - 1) / 2)
    about = affine.linear(affine.rotation_shear_scale(angle, shear, scale), centre=centre)
    return affine.translation(signed[:, 3:5] * config.translation * size) @ about


def _photometric(pictures: Tensor, config: AugmentConfig, numbers: Tensor) -> Tensor:
    signed = 2 * numbers - 1
    if config.brightness or config.cast:
        factor = (1 + signed[:, 5:6] * config.brightness) * (1 + signed[:, 6:9] * config.cast)
        pictures = color.scale_brightness(pictures, factor)
    if config.contrast:
        pictures = color.scale_contrast(pictures, 1 + signed[:, 9] * config.contrast)
    if config.saturation:
        pictures = color.scale_saturation(pictures, 1 + signed[:, 10] * config.saturation)
    if config.blur:
        pictures = color.blur(pictures, numbers[:, 11] * config.blur, radius=BLUR_RADIUS)
    if config.noise:
        pictures = pictures + _noise(pictures, numbers[:, 12:15], config.noise)
    return pictures


def _noise(pictures: Tensor, numbers: Tensor, largest: float) -> Tensor:
    """Windows of one fixed tile of Gaussian noise: the numbers alone decide which, so any split of a batch agrees."""
    count, _, height, width = pictures.shape
    tile = _noise_tile(pictures.device)
    x = torch.arange(width, device=pictures.device) + (numbers[:, :1] * NOISE_TILE).long()
    y = torch.arange(height, device=pictures.device) + (numbers[:, 1:2] * NOISE_TILE).long()
    index = (y % NOISE_TILE).unsqueeze(2) * NOISE_TILE + (x % NOISE_TILE).unsqueeze(1)
    window = tile.flatten(1)[:, index.flatten()].view(3, count, height, width).transpose(0, 1)
    return window * (numbers[:, 2] * largest).view(-1, 1, 1, 1)


@cache
def _noise_tile(device: torch.device) -> Tensor:
    return torch.randn(3, NOISE_TILE, NOISE_TILE, generator=torch.Generator().manual_seed(0)).to(device)
