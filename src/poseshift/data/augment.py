"""Draw a view: one matrix and one photometric change a sample, batched, on the model's device.

Geometry is drawn about the centre of the canonical frame in the published order ``T·R·S·Sh`` (translate, rotate, scale,
shear), then mirrored; crop and augmentation are one resampling of the base crop from the composed matrix. A mirrored
view is one whose matrix has a negative determinant; whoever has labels exchanges left and right there.

What an option beyond ranges decides (``probability``, ``flip``, ``separate_axes``) has random numbers of its own, so
that a view without them is the same to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from torch import Tensor

from poseshift.batches import View
from poseshift.draws import Draws
from poseshift.ops import affine, color

NOISE_TILE = 512
BLUR_RADIUS, NARROW_BLUR = 3, 2.0
"""Pixels of the kernel up to that sigma; above it three sigmas."""


def _range(least: float, most: float, *, above: bool = False) -> BeforeValidator:
    """One number, or two in order, within bounds; ``above``: the lower of two must be above ``least``."""

    def check(value: Any) -> Any:
        pair = isinstance(value, (list, tuple)) and len(value) == 2
        numbers = list(value) if pair else [value]
        if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers):
            raise ValueError("expected a number, or two as [low, high]")
        if not (least <= numbers[0] <= numbers[-1] <= most) or (above and pair and numbers[0] == least):
            raise ValueError(f"expected a number from {least:g} to {most:g}, or two such in order")
        return value

    return BeforeValidator(check)


Pair = tuple[float, float]


class Chance(IntEnum):
    """Columns of the numbers that decide whether a change is applied."""

    GEOMETRY = 0
    FLIP = 1
    BRIGHTNESS = 2
    CONTRAST = 3
    SATURATION = 4
    BLUR = 5
    NOISE = 6
    HEIGHT = 7


class AugmentConfig(BaseModel):
    """Ranges of one view; a range of 0 leaves that change out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: float = Field(60.0, ge=0, le=180, description="Degrees, ±.")
    shear: float = Field(30.0, ge=0, lt=90, description="Degrees along x, ±.")
    translation: float = Field(0.05, ge=0, le=1, description="Fraction of the side, ±, along x and y.")
    scale: tuple[float, float] = Field((0.8, 1.3), description="Factor of the picture's size, drawn log-uniformly.")
    brightness: float = Field(0.25, ge=0, lt=1, description="Factor 1 ±.")
    contrast: Annotated[float | Pair, _range(0, 10, above=True)] = Field(
        0.25, description="Factor 1 ±, or two factors."
    )
    saturation: float = Field(0.25, ge=0, le=1, description="Factor 1 ±.")
    cast: float = Field(0.0, ge=0, lt=1, description="Factor 1 ± of each channel on its own.")
    noise: Annotated[float | Pair, _range(0, 1)] = Field(
        0.0, description="Largest standard deviation of Gaussian noise, or least and largest."
    )
    blur: Annotated[float | Pair, _range(0, 5)] = Field(
        0.0, description="Largest sigma of a Gaussian blur, pixels, or least and largest."
    )
    probability: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Of each change to be applied to an image: of geometry as one, of each other alone.",
    )
    flip: float = Field(0.0, ge=0, le=1, description="Probability of a mirrored view, left and right exchanged.")
    separate_axes: bool = Field(False, description="Width and height are scaled by a factor of `scale` each.")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {list(scale)}: expected 0 < low <= high")
        return scale

    @field_validator("contrast")
    @classmethod
    def _positive(cls, contrast: float | Pair) -> float | Pair:
        if isinstance(contrast, float) and contrast >= 1:
            raise ValueError("one number is a factor 1 ±, below 1; give two factors as [0.5, 2]")
        return contrast

    @property
    def by_chance(self) -> bool:
        """Whether anything but ranges is drawn."""
        return self.probability < 1 or self.flip > 0 or self.separate_axes


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
    chances = draws.per_sample(f"{stream}/chance", len(Chance)) if config.by_chance else None
    matrix = _matrix(config, numbers, chances, size)
    margin = (base.shape[-1] - size) // 2
    to_canonical = affine.translation(torch.full((len(base), 2), -float(margin), device=base.device))
    change = _changes(config, numbers, chances)
    images = torch.empty(len(base), 3, size, size, device=base.device)
    first = 0
    for part in affine.warp_each(base, matrix @ to_canonical, (size, size)):
        rows = slice(first, first + len(part))
        _colour(part, change[rows], config, numbers[rows], None if chances is None else chances[rows], out=images[rows])
        first = rows.stop
    return View(images=images, matrix=matrix)


@dataclass(frozen=True)
class _Change:
    """Photometric changes as far as they are known without pixels: contrast is about each picture's own mean grey.

    Attributes:
        matrix: ``B×4×4``, of pictures whose mean grey is 0.
        weights: ``B×3``: means of the stored channels to the mean grey that contrast is about.
        gain: ``B×3``: what each channel gets of that grey.
    """

    matrix: Tensor
    weights: Tensor
    gain: Tensor

    def __getitem__(self, rows: slice) -> _Change:
        return _Change(self.matrix[rows], self.weights[rows], self.gain[rows])

    def offset(self, means: Tensor) -> Tensor:
        """``B×3×1``: what is added to each channel of pictures with these ``means`` (``B×3``)."""
        grey = (means * self.weights).sum(1, keepdim=True)
        return torch.addcmul(self.matrix[:, :3, 3], self.gain, grey).unsqueeze(2)


def _colour(
    part: Tensor, change: _Change, config: AugmentConfig, numbers: Tensor, chances: Tensor | None, *, out: Tensor
) -> None:
    """Writes pictures in [0, 255] to ``out`` with their photometric change, normalised."""
    color.recolour(part, change.matrix, offset=change.offset(part.mean((2, 3))), out=out)
    if config.blur or config.noise:
        out.copy_(color.normalise(_spoilt(out, config, numbers, chances)))
    color.clamp_normalised_(out)


def plain(base: Tensor, *, size: int) -> View:
    """The canonical frame itself."""
    margin = (base.shape[-1] - size) // 2
    pictures = base[..., margin : margin + size, margin : margin + size].float().div(255)
    return View(images=color.normalise(pictures), matrix=affine.identity(len(base), like=pictures))


def _matrix(config: AugmentConfig, numbers: Tensor, chances: Tensor | None, size: int) -> Tensor:
    signed = 2 * numbers - 1
    angle = signed[:, 0] * math.radians(config.rotation)
    shear = signed[:, 1] * math.radians(config.shear)
    scale = _scale(config, numbers[:, 2])
    centre = numbers.new_full((2,), (size - 1) / 2)
    block = affine.rotation_shear_scale(angle, shear, scale)
    if chances is not None and config.separate_axes:
        height = _scale(config, chances[:, Chance.HEIGHT]) / scale
        block = block * torch.stack((torch.ones_like(height), height), 1).unsqueeze(1)
    matrix = affine.translation(signed[:, 3:5] * config.translation * size) @ affine.linear(block, centre=centre)
    if chances is None:
        return matrix
    turned = (chances[:, Chance.GEOMETRY] < config.probability).view(-1, 1, 1)
    matrix = torch.where(turned, matrix, affine.identity(len(matrix), like=matrix))
    flipped = (chances[:, Chance.FLIP] < config.flip).view(-1, 1, 1)
    return torch.where(flipped, affine.mirror(size, like=matrix) @ matrix, matrix)


def _scale(config: AugmentConfig, numbers: Tensor) -> Tensor:
    low, high = (math.log(value) for value in config.scale)
    return (low + numbers * (high - low)).exp()


def _changes(config: AugmentConfig, numbers: Tensor, chances: Tensor | None) -> _Change:
    """Brightness, contrast and saturation in turn as one change of stored values in [0, 255].

    It leads to what a net reads, or to [0, 1] where blur or noise are to follow.
    """
    signed, black = 2 * numbers - 1, numbers.new_zeros(len(numbers), 3)
    same, gain = color.unchanged(black), black
    change = color.brightness(black + 1 / 255)
    if config.brightness or config.cast:
        factor = (1 + signed[:, 5:6] * config.brightness) * (1 + signed[:, 6:9] * config.cast)
        change = _applied(color.brightness(factor), same, Chance.BRIGHTNESS, config, chances) @ change
    weights = color.grey_weights(change)
    if config.contrast:
        factor = _contrast(config, numbers[:, 9])
        changed = color.contrast(factor, black[:, 0])
        change = _applied(changed, same, Chance.CONTRAST, config, chances) @ change
        gain = _applied((1 - factor).unsqueeze(1).expand(-1, 3), black, Chance.CONTRAST, config, chances)
    if config.saturation:  # which leaves grey as it is, and so what contrast adds
        changed = color.saturation(1 + signed[:, 10] * config.saturation)
        change = _applied(changed, same, Chance.SATURATION, config, chances) @ change
    if not (config.blur or config.noise):
        normalising = color.normalising(change)
        change, gain = normalising @ change, gain * normalising.diagonal(dim1=1, dim2=2)[:, :3]
    return _Change(change, weights, gain)


def _spoilt(pictures: Tensor, config: AugmentConfig, numbers: Tensor, chances: Tensor | None) -> Tensor:
    """Blur and noise."""
    if config.blur:
        low, high = _pair(config.blur)
        radius = BLUR_RADIUS if high <= NARROW_BLUR else math.ceil(3 * high)
        blurred = color.blur(pictures, low + numbers[:, 11] * (high - low), radius=radius)
        pictures = _applied(blurred, pictures, Chance.BLUR, config, chances)
    if config.noise:
        noisy = pictures + _noise(pictures, numbers[:, 12:15], _pair(config.noise))
        pictures = _applied(noisy, pictures, Chance.NOISE, config, chances)
    return pictures


def _applied(changed: Tensor, same: Tensor, column: Chance, config: AugmentConfig, chances: Tensor | None) -> Tensor:
    """``changed`` where a sample's number says so, else ``same``."""
    if chances is None:
        return changed
    chosen = chances[:, column] < config.probability
    return torch.where(chosen.view(-1, *[1] * (changed.dim() - 1)), changed, same)


def _pair(values: float | Pair) -> Pair:
    return values if isinstance(values, tuple) else (0.0, values)


def _contrast(config: AugmentConfig, numbers: Tensor) -> Tensor:
    if isinstance(config.contrast, tuple):
        low, high = config.contrast
        return low + numbers * (high - low)
    return 1 + (2 * numbers - 1) * config.contrast


def _noise(pictures: Tensor, numbers: Tensor, strength: Pair) -> Tensor:
    """Windows of one fixed tile of Gaussian noise: the numbers alone decide which, so any split of a batch agrees."""
    count, _, height, width = pictures.shape
    tile = _noise_tile(pictures.device)
    x = torch.arange(width, device=pictures.device) + (numbers[:, :1] * NOISE_TILE).long()
    y = torch.arange(height, device=pictures.device) + (numbers[:, 1:2] * NOISE_TILE).long()
    index = (y % NOISE_TILE).unsqueeze(2) * NOISE_TILE + (x % NOISE_TILE).unsqueeze(1)
    window = tile.flatten(1)[:, index.flatten()].view(3, count, height, width).transpose(0, 1)
    low, high = strength
    return window * (low + numbers[:, 2] * (high - low)).view(-1, 1, 1, 1)


@cache
def _noise_tile(device: torch.device) -> Tensor:
    return torch.randn(3, NOISE_TILE, NOISE_TILE, generator=torch.Generator().manual_seed(0)).to(device)
