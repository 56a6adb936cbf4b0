"""Draw a view: one matrix and one photometric change a sample, batched, on the model's device.

Geometry is drawn about the centre of the canonical frame in the published order ``T·R·S·Sh`` (translate, rotate, scale,
shear), then mirrored; crop and augmentation are one resampling of the base crop from the composed matrix. A mirrored
view is one whose matrix has a negative determinant; whoever has labels exchanges left and right there.

What an option beyond ranges decides (``probability``, ``flip``, ``separate_axes``) has random numbers of its own, so
that a view without them is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import torch
from torch import Tensor

from poseshift.batches import View
from poseshift.data.augment_config import AugmentConfig, Pair
from poseshift.draws import Draws
from poseshift.ops import affine, color

NOISE_TILE = 512
BLUR_RADIUS, NARROW_BLUR = 3, 2.0
"""Pixels of the kernel up to that sigma; above it three sigmas."""


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


def draw(base: Tensor, config: AugmentConfig, draws: Draws, *, size: int, stream: str) -> View:
    """One augmented view of base crops.

    Args:
        base: ``B×3×S×S`` RGB, uint8: the canonical frame with a margin of ``(S - size) / 2`` pixels on each side.
        config: Ranges.
        draws: Random numbers of this step.
        size: Side of the canonical frame and of the view.
        stream: Name of the random stream, one for each view of a step.
    """
    return draw_views(base, {stream: config}, draws, size=size)[0]


def draw_views(base: Tensor, configs: Mapping[str, AugmentConfig], draws: Draws, *, size: int) -> list[View]:
    """Augmented views of the same base crops, as :func:`draw` gives each, for less than its price times their number.

    Args:
        base: ``B×3×S×S`` RGB, uint8, as in :func:`draw`.
        configs: Ranges of each view under the name of its random stream.
        draws: Random numbers of this step.
        size: Side of the canonical frame and of the views.
    """
    drawn = [_Drawn.of(config, draws, stream, size) for stream, config in configs.items()]
    margin = (base.shape[-1] - size) // 2
    to_canonical = affine.translation(torch.full((len(base), 2), -float(margin), device=base.device))
    images = [torch.empty(len(base), 3, size, size, device=base.device) for _ in drawn]
    for view, rows, part in affine.warp_each(base, [one.matrix @ to_canonical for one in drawn], (size, size)):
        _colour(part, drawn[view], rows, out=images[view][rows])
    return [View(images=made, matrix=one.matrix) for made, one in zip(images, drawn, strict=True)]


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


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for one view.

    Attributes:
        config: Ranges.
        numbers: ``B×16`` random numbers in [0, 1).
        chances: ``B×8`` of them that decide what is applied, or None.
        matrix: ``B×3×3``, from the canonical frame to the view.
        change: Of colours.
    """

    config: AugmentConfig
    numbers: Tensor
    chances: Tensor | None
    matrix: Tensor
    change: _Change

    @classmethod
    def of(cls, config: AugmentConfig, draws: Draws, stream: str, size: int) -> _Drawn:
        numbers = draws.per_sample(stream, 16)
        chances = draws.per_sample(f"{stream}/chance", len(Chance)) if config.by_chance else None
        return cls(
            config=config,
            numbers=numbers,
            chances=chances,
            matrix=_matrix(config, numbers, chances, size),
            change=_changes(config, numbers, chances),
        )


def _colour(part: Tensor, drawn: _Drawn, rows: slice, *, out: Tensor) -> None:
    """Writes pictures in [0, 255], ``rows`` of a view, to ``out`` with their photometric change, normalised."""
    change, config = drawn.change[rows], drawn.config
    color.recolour(part, change.matrix, offset=change.offset(part.mean((2, 3))), out=out)
    if config.blur or config.noise:
        chances = None if drawn.chances is None else drawn.chances[rows]
        out.copy_(color.normalise(_spoilt(out, config, drawn.numbers[rows], chances)))
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
