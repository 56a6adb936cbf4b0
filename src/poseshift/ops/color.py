"""Pixel values: normalisation and photometric change, one parameter set a sample, batched.

Pictures are RGB in [0, 1]; nets read them normalised by ImageNet's mean and standard deviation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, 3, 1, 1)


def normalise(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB ``B×3×H×W`` in [0, 1] to ImageNet-normalised."""
    return (pictures - _channels(MEAN, pictures)) / _channels(STD, pictures)


def denormalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """The inverse of :func:`normalise`."""
    return images * _channels(STD, images) + _channels(MEAN, images)


def clamp_normalised(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Normalised images cut to what RGB in [0, 1] can give."""
    return normalise(denormalise(images).clamp(0, 1))


def luma(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Grey value ``B×1×H×W`` (ITU-R 601)."""
    return (pictures * _channels(LUMA, pictures)).sum(1, keepdim=True)


def scale_brightness(
    pictures: Float[Tensor, "B 3 H W"], factor: Float[Tensor, " B"] | Float[Tensor, "B 3"]
) -> Float[Tensor, "B 3 H W"]:
    """Multiplied by ``factor`` (``B`` or ``B×3``)."""
    return pictures * factor.view(len(pictures), -1, 1, 1)


def scale_contrast(pictures: Float[Tensor, "B 3 H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
    """Distance from the mean grey value multiplied by ``factor`` (``B``)."""
    centre = luma(pictures).mean((1, 2, 3), keepdim=True)
    return centre + (pictures - centre) * factor.view(-1, 1, 1, 1)


def scale_saturation(pictures: Float[Tensor, "B 3 H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
    """Distance of each pixel from its own grey value multiplied by ``factor`` (``B``)."""
    grey = luma(pictures)
    return grey + (pictures - grey) * factor.view(-1, 1, 1, 1)


def blur(pictures: Float[Tensor, "B 3 H W"], sigma: Float[Tensor, " B"], *, radius: int) -> Float[Tensor, "B 3 H W"]:
    """Gaussian blur with one ``sigma`` (``B``, pixels; 0 leaves a picture as it is), kernel of ``2·radius + 1``."""
    count, channels, height, width = pictures.shape
    offsets = torch.arange(-radius, radius + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma.clamp(min=1e-3).square()).unsqueeze(1))
    kernel = kernel / kernel.sum(1, keepdim=True)
    kernel = kernel.repeat_interleave(channels, 0).unsqueeze(1)
    flat = F.pad(pictures.reshape(1, count * channels, height, width), (radius,) * 4, mode="reflect")
    flat = F.conv2d(flat, kernel.unsqueeze(2), groups=count * channels)
    flat = F.conv2d(flat, kernel.unsqueeze(3), groups=count * channels)
    return flat.view(count, channels, height, width)
