"""Pixel values: normalisation and photometric change, one parameter set a sample, batched.

Pictures are RGB in [0, 1]; nets read them normalised by ImageNet's mean and standard deviation. Brightness, contrast
and saturation are linear in a pixel's colour: each is a 4×4 matrix of homogeneous colours (r, g, b, 1) for each
picture, their product is the whole change, and only that product touches pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)


def _numbers(values: tuple[float, ...], like: Tensor) -> Tensor:
    """The three numbers on the device of ``like``, without a copy that the host would wait for."""
    return torch.stack([like.new_full((), value) for value in values])


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return _numbers(values, like).view(1, 3, 1, 1)


def normalise(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB ``B×3×H×W`` in [0, 1] to ImageNet-normalised."""
    return (pictures - _channels(MEAN, pictures)) / _channels(STD, pictures)


def denormalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """The inverse of :func:`normalise`."""
    return images * _channels(STD, images) + _channels(MEAN, images)


def clamp_normalised(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Normalised images cut to what RGB in [0, 1] can give."""
    return normalise(denormalise(images).clamp(0, 1))


def clamp_normalised_(images: Float[Tensor, "B 3 H W"]) -> None:
    """Cuts normalised images to what RGB in [0, 1] can give, in place."""
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        images[:, channel].clamp_(-mean / std, (1 - mean) / std)


def luma(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Grey value ``B×1×H×W`` (ITU-R 601)."""
    return (pictures * _channels(LUMA, pictures)).sum(1, keepdim=True)


def unchanged(means: Float[Tensor, "B 3"]) -> Float[Tensor, "B 4 4"]:
    """For each of the pictures with these ``means`` the change that leaves it as it is."""
    return torch.eye(4, dtype=means.dtype, device=means.device).repeat(len(means), 1, 1)


def brightness(factor: Float[Tensor, "B 3"]) -> Float[Tensor, "B 4 4"]:
    """Each channel multiplied by its ``factor`` (``B×3``)."""
    return torch.diag_embed(F.pad(factor, (0, 1), value=1.0))


def contrast(factor: Float[Tensor, " B"], grey: Float[Tensor, " B"]) -> Float[Tensor, "B 4 4"]:
    """Distance from ``grey``, the mean grey value of the picture, multiplied by ``factor`` (both ``B``)."""
    change = brightness(factor.unsqueeze(1).expand(-1, 3))
    change[:, :3, 3] = ((1 - factor) * grey).unsqueeze(1)
    return change


def saturation(factor: Float[Tensor, " B"]) -> Float[Tensor, "B 4 4"]:
    """Distance of each pixel from its own grey value multiplied by ``factor`` (``B``)."""
    change = brightness(factor.unsqueeze(1).expand(-1, 3))
    change[:, :3, :3] += (1 - factor).view(-1, 1, 1) * _numbers(LUMA, factor)
    return change


def grey_weights(change: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B 3"]:
    """``B×3``: what each stored channel's mean counts in the mean grey value after a ``change`` that adds nothing."""
    return (change[:, :3, :3] * _numbers(LUMA, change).unsqueeze(1)).sum(1)


def normalising(change: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B 4 4"]:
    """:func:`normalise` as a change, one for each of ``change``."""
    scale = _numbers(tuple(1 / std for std in STD), change)
    matrix = torch.diag_embed(F.pad(scale, (0, 1), value=1.0))
    matrix[:3, 3] = -_numbers(MEAN, change) * scale
    return matrix.expand_as(change)


def recolour(
    pictures: Float[Tensor, "B 3 H W"],
    change: Float[Tensor, "B 4 4"],
    *,
    offset: Float[Tensor, "B 3 1"] | None = None,
    out: Float[Tensor, "B 3 H W"] | None = None,
) -> Float[Tensor, "B 3 H W"]:
    """Every pixel's colour taken through ``change``, in one pass whatever that is made of; into ``out``, if given.

    ``offset`` is added in place of the change's own.
    """
    into = torch.empty_like(pictures, memory_format=torch.contiguous_format) if out is None else out
    added = change[:, :3, 3:] if offset is None else offset
    with torch.autocast(pictures.device.type, enabled=False):
        torch.baddbmm(added, change[:, :3, :3], pictures.flatten(2), out=into.flatten(2))
    return into


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
