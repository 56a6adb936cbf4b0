"""Heatmaps of images as they are, scaled and turned, moved back and averaged (equivariance; Mu et al., CVPR 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from poseshift.ops import affine, color
from poseshift.ops.constants import constants

Look = Callable[[Tensor], Tensor]
"""What a net says of normalised images ``B×3×H×W``: heatmaps ``B×K×h×w``."""

WIDE = ((30.0, 0.75), (-30.0, 0.75), (30.0, 1.25), (-30.0, 1.25))
"""Degrees and factor of the picture's size of each view beside the plain one."""


@torch.no_grad()
def ensemble(
    look: Look,
    images: Float[Tensor, "B 3 H W"],
    *,
    stride: float,
    wide: Sequence[tuple[float, float]] = WIDE,
    first: Look | None = None,
) -> Float[Tensor, "B K h w"]:
    """Heatmaps ``B×K×h×w`` averaged over the images and ``wide`` views of them; what a view loses counts as 0.

    Args:
        look: Asked of each view.
        images: Normalised.
        stride: Pixels a cell.
        wide: Degrees and factor of each view beside the plain one.
        first: Asked of the plain view in place of ``look``.
    """
    size, pictures = (images.shape[-2], images.shape[-1]), color.denormalise(images)
    centre = constants([(side - 1) / 2 for side in reversed(size)], like=images)
    maps = [(first or look)(images).float()]
    for degrees, factor in wide:
        angle, scale = (constants((number,), like=images) for number in (math.radians(degrees), factor))
        block = affine.rotation_shear_scale(angle, torch.zeros_like(angle), scale)
        matrix = affine.linear(block, centre=centre).expand(len(images), 3, 3)
        found = look(color.normalise(affine.warp(pictures, matrix, size)))
        maps.append(affine.unwarp_heatmaps(found.float(), matrix, stride=stride))
    return torch.stack(maps).mean(0)
