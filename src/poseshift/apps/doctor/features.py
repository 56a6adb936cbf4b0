"""What the gap between two domains is measured on: a stated descriptor of colours and gradients, or a net's features.

The descriptor needs no weights. Its parts, so that a gap can be laid to one of them:

* ``colour``: mean, standard deviation and skewness of each channel, and the correlations of the channels;
* ``fine texture`` (1 and 2 pixels of the crop) and ``coarse structure`` (4 and 8): for each scale, after averaging
  squares of that side, the logarithm of the mean gradient, how far single strong edges make it up, the balance of
  horizontal and vertical edges, and the logarithm of the mean second difference;
* ``layout``: how middle and rim of the crop differ in brightness, colourfulness and gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from poseshift.apps.doctor.samples import Sample
from poseshift.models import backbones
from poseshift.models.backbones import SmallBackbone, TimmBackbone
from poseshift.models.weights import initialise
from poseshift.ops import color
from poseshift.types import ByteArray, FloatArray

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SCALES = {1: "fine texture", 2: "fine texture", 4: "coarse structure", 8: "coarse structure"}
LEAST = 32
"""Pixels of the shorter side below which a window is enlarged: the coarsest scale needs four cells."""
FLOOR = 1 / 1020
"""A quarter of a grey level: what the logarithm of a gradient starts from."""
BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """``n×d`` numbers and the part that each of the ``d`` columns belongs to."""

    values: FloatArray
    parts: tuple[str, ...]
    name: str


def handmade(sample: Sample) -> Features:
    """The descriptor of each crop, without what lies outside the image."""
    rows = [_describe(sample.pixels(number)) for number in range(len(sample))]
    values = np.stack([np.concatenate([part for _, part in row]) for row in rows]).astype(np.float32)
    parts = tuple(name for name, part in rows[0] for _ in part)
    return Features(values=values, parts=parts, name="hand-made descriptor (colours and gradients)")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A timm net whose feature maps, averaged over the crop, are the features: one part for each stage."""

    net: TimmBackbone | SmallBackbone
    name: str

    def __call__(self, sample: Sample) -> Features:
        """The features of each crop."""
        parts = tuple(f"stage {stage}" for stage, width in enumerate(self.net.channels, 1) for _ in range(width))
        pooled = []
        for start in range(0, len(sample), BATCH):
            batch = torch.from_numpy(sample.crops[start : start + BATCH]).permute(0, 3, 1, 2).float().div(255)
            with torch.inference_mode():
                stages = self.net(color.normalise(batch))
            pooled.append(torch.cat([stage.mean((2, 3)) for stage in stages], 1).numpy())
        return Features(values=np.concatenate(pooled).astype(np.float32), parts=parts, name=self.name)


def network(backbone: str, weights: str) -> Network:
    """Loads a net.

    Args:
        backbone: A timm model name.
        weights: A ``.safetensors`` file, or ``pretrained``.

    Raises:
        UsageError: Unknown backbone, or one that has no weights.
        DataError: The file is missing, broken or of another net.
    """
    net = backbones.build(backbone)
    initialise(net, backbone, weights)
    net.eval()
    return Network(net=net, name=f"{backbone}, weights {Path(weights).name}")


def grey(pixels: npt.NDArray[np.number]) -> FloatArray:
    """Luma ``h×w`` of RGB ``h×w×3``, in the units of ``pixels``."""
    values: FloatArray = pixels.astype(np.float32) @ LUMA
    return values


def shrink(image: FloatArray, factor: int) -> FloatArray:
    """Means of squares of side ``factor``; what does not fill a square is cut off."""
    height, width = (extent // factor * factor for extent in image.shape)
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor)
    means: FloatArray = blocks.mean((1, 3), dtype=np.float32)
    return means


def _describe(pixels: ByteArray) -> list[tuple[str, FloatArray]]:
    if min(pixels.shape[:2]) < LEAST:
        factor = -(-LEAST // min(pixels.shape[:2]))
        pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    colours = (pixels / np.float32(255)).astype(np.float32)
    luma = grey(colours)
    found = [("colour", _moments(colours))]
    found += [(part, _gradients(shrink(luma, scale))) for scale, part in SCALES.items()]
    return [*found, ("layout", _layout(colours, luma))]


def _moments(colours: FloatArray) -> FloatArray:
    flat = colours.reshape(-1, 3).astype(np.float64)
    mean, spread = flat.mean(0), flat.std(0)
    unit = (flat - mean) / np.maximum(spread, FLOOR)
    together = unit.T @ unit / len(flat)
    return np.concatenate([mean, spread, (unit**3).mean(0), together[np.triu_indices(3, 1)]]).astype(np.float32)


def _gradients(luma: FloatArray) -> FloatArray:
    along, down = np.diff(luma, axis=1)[:-1], np.diff(luma, axis=0)[:, :-1]
    length = np.hypot(along, down)
    across, upright = float(np.square(along).mean()), float(np.square(down).mean())
    second = np.abs(np.diff(luma, 2, axis=1)).mean() + np.abs(np.diff(luma, 2, axis=0)).mean()
    mean, total = float(length.mean()), across + upright
    sparse = np.log((np.sqrt(total) + FLOOR) / (mean + FLOOR))
    balance = (across - upright) / (total + FLOOR**2)
    return np.array([np.log(mean + FLOOR), sparse, balance, np.log(second + FLOOR)], np.float32)


def _layout(colours: FloatArray, luma: FloatArray) -> FloatArray:
    height, width = luma.shape
    middle = np.zeros(luma.shape, np.bool_)
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    colourful = np.abs(colours - luma[..., None]).mean(2)
    steps = np.hypot(np.diff(luma, axis=1, prepend=luma[:, :1]), np.diff(luma, axis=0, prepend=luma[:1]))
    return np.array([float(m[middle].mean() - m[~middle].mean()) for m in (luma, colourful, steps)], np.float32)
