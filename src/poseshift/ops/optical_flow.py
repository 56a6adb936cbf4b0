"""Points followed from one image to the next: Lucas and Kanade (IJCAI 1981) on a pyramid, all points at once.

A point moves by the ``d`` that minimises ``Σ (I(x) - J(x + d))²`` over a square window about it. With the gradient
``∇I`` of the first image, each round solves ``(Σ ∇I ∇Iᵀ) δ = Σ (I(x) - J(x + d)) ∇I`` and adds ``δ`` to ``d``; what a
coarse level finds is where the next finer one begins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from poseshift.ops.constants import constants

TEXTURE = 1e-6
"""Least of the smaller eigenvalues of the mean of ``∇I ∇Iᵀ``, intensities in [0, 1]: below it nothing fixes a point."""


def follow(
    before: Float[Tensor, "B 1 H W"],
    after: Float[Tensor, "B 1 H W"],
    points: Float[Tensor, "B K 2"],
    *,
    radius: int,
    levels: int = 3,
    rounds: int = 10,
) -> tuple[Float[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
    """Where points of one image are in the next.

    Args:
        before: ``B×1×H×W`` grey values in [0, 1].
        after: The same of the next images.
        points: ``B×K×2`` pixels of ``before``.
        radius: Of the window, pixels of each level.
        levels: Of the pyramid; each halves the one before.
        rounds: At each level.

    Returns:
        Points ``B×K×2`` in ``after``, and ``B×K``: whether the window had the texture, in two directions, that fixes
        them. Where it had none the point stays where coarser levels put it.
    """
    pyramid = [(before, after)]
    for _ in range(levels - 1):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    shift, found = torch.zeros_like(points), torch.zeros_like(points[..., 0], dtype=torch.bool)
    for level in reversed(range(levels)):
        centres = (points + 0.5) / 2**level - 0.5
        shift, found = _refine(*pyramid[level], centres, 2 * shift, radius=radius, rounds=rounds)
    return points + shift, found


def _refine(
    first: Tensor, second: Tensor, centres: Tensor, shift: Tensor, *, radius: int, rounds: int
) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-radius, radius + 1, dtype=centres.dtype, device=centres.device)
    window = torch.cartesian_prod(steps, steps)
    places = centres.unsqueeze(-2) + window  # B×K×P×2
    value, along_x, along_y = _sample(torch.cat((first, *_gradient(first)), 1), places).unbind(1)
    xx, xy, yy = ((a * b).mean(-1) for a, b in ((along_x, along_x), (along_x, along_y), (along_y, along_y)))
    found = (xx + yy - ((xx - yy).square() + 4 * xy.square()).sqrt()) / 2 > TEXTURE
    determinant = torch.where(found, xx * yy - xy.square(), torch.ones_like(xx))
    for _ in range(rounds):
        wrong = value - _sample(second, places + shift.unsqueeze(-2))[:, 0]
        x, y = (wrong * along_x).mean(-1), (wrong * along_y).mean(-1)
        step = torch.stack((yy * x - xy * y, xx * y - xy * x), -1) / determinant.unsqueeze(-1)
        shift = torch.where(found.unsqueeze(-1), shift + step, shift)
    return shift, found


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 1:-1, :], padded[..., :, 1:-1]
    return (across[..., 2:] - across[..., :-2]) / 2, (down[..., 2:, :] - down[..., :-2, :]) / 2


def _sample(images: Tensor, places: Tensor) -> Tensor:
    """Bilinear values ``B×C×K×P`` of ``B×C×H×W`` at ``B×K×P×2`` pixels; the border goes on outside."""
    size = constants((images.shape[-1], images.shape[-2]), like=places)
    grid = (2 * places + 1) / size - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
