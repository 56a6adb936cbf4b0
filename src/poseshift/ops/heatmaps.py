"""Heatmaps: drawn from keypoints, read back to sub-pixel keypoints, rectified.

A heatmap of stride ``s`` has its cell ``i`` centred at pixel ``s·(i + ½) - ½``. Three conventions of drawing:

``exact``
    A Gaussian at the sub-pixel position, unbounded support. The default.
``published_human``
    As in Kim et al.'s code for people and hands: centre ``int(x·w/W + ½)``, truncated **towards zero**, support the
    square ±3σ around it, weight 0 where the centre lies outside the map.
``published_animal``
    As there for animals: centre ``int(x·w/W)`` (1-based coordinates, which cancel), and the joint is dropped unless
    its whole ±3σ window lies inside the map.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

Convention = Literal["exact", "published_human", "published_animal"]


def _gaussian(centre: Tensor, length: int, sigma: float, window: int | None) -> Tensor:
    """``…×length`` one-dimensional Gaussians of peak 1 about ``centre`` (``…``, cells), cut at ±``window``."""
    cells = torch.arange(length, dtype=centre.dtype, device=centre.device)
    distance = cells - centre.unsqueeze(-1)
    curve = torch.exp(-distance.square() / (2 * sigma**2))
    return curve if window is None else curve * (distance.abs() <= window)


def draw(
    centres: Float[Tensor, "B K 2"], size: tuple[int, int], sigma: float, *, window: int | None = None
) -> Float[Tensor, "B K h w"]:
    """Gaussians of peak 1 about ``centres`` (``B×K×2``, cells) on maps ``B×K×h×w``, cut to a square ±``window``."""
    height, width = size
    columns = _gaussian(centres[..., 0], width, sigma, window)
    rows = _gaussian(centres[..., 1], height, sigma, window)
    return rows.unsqueeze(-1) * columns.unsqueeze(-2)


def encode(
    keypoints: Float[Tensor, "B K 2"],
    visible: Real[Tensor, "B K"] | Bool[Tensor, "B K"],
    size: tuple[int, int],
    *,
    stride: float,
    sigma: float,
    convention: Convention = "exact",
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K"]]:
    """Target heatmaps of keypoints.

    Args:
        keypoints: ``B×K×2``, pixels of the view.
        visible: ``B×K``; keypoints with 0 get weight 0 and an empty map.
        size: ``(h, w)`` of the maps.
        stride: Pixels a cell.
        sigma: Of the Gaussian, in cells.
        convention: See the head of this module.

    Returns:
        Heatmaps ``B×K×h×w`` of peak 1 and weights ``B×K`` in {0, 1}.
    """
    height, width = size
    limit = torch.stack([keypoints.new_full((), side) for side in (width, height)])
    labelled = visible > 0
    window = round(3 * sigma)
    if convention == "exact":
        centres = (keypoints + 0.5) / stride - 0.5
        inside = ((centres >= -0.5) & (centres < limit - 0.5)).all(-1)
        maps = draw(centres, size, sigma)
    elif convention == "published_human":
        centres = torch.trunc(keypoints / stride + 0.5)
        inside = ((centres >= 0) & (centres < limit)).all(-1)
        maps = draw(centres, size, sigma, window=window)
    else:
        centres = torch.trunc(keypoints / stride)
        inside = ((centres - window >= 0) & (centres + window + 1 <= limit)).all(-1)
        maps = draw(centres, size, sigma, window=window)
    counts = labelled & inside
    return torch.where(counts[..., None, None], maps, torch.zeros_like(maps)), counts.to(maps.dtype)


def peaks(heatmaps: Float[Tensor, "B K h w"]) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """Cells (``B×K×2``, x then y) and values (``B×K``) of the maxima; without a positive value the cell is (0, 0)."""
    heatmaps = heatmaps.contiguous()
    rows = heatmaps.amax(-1)  # a maximum without its place takes a tenth of the time of one with it
    values, y = rows.max(-1)
    row = heatmaps.gather(-2, y[..., None, None].expand(*y.shape, 1, heatmaps.shape[-1]))
    cells = torch.stack((row.squeeze(-2).argmax(-1), y), -1).to(heatmaps.dtype)
    return cells * (values > 0).unsqueeze(-1), values


def decode(
    heatmaps: Float[Tensor, "B K h w"], *, stride: float, subpixel: bool = True
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """Keypoints of heatmaps, to a fraction of a cell.

    Around the maximum a parabola is laid through the logarithms of three neighbours, separately along x and y, which is
    exact for a Gaussian (the one-dimensional form of DARK, Zhang et al., CVPR 2020). The shift is at most half a cell.

    Args:
        heatmaps: ``B×K×h×w``, any finite values.
        stride: Pixels a cell.
        subpixel: Without it, the centre of the cell of the maximum.

    Returns:
        Keypoints ``B×K×2`` in pixels of the view, and the values of the maxima ``B×K`` clamped to [0, 1].
    """
    heatmaps = heatmaps.float()
    cells, values = peaks(heatmaps)
    if subpixel:
        cells = cells + fraction(heatmaps, cells)
    return (cells + 0.5) * stride - 0.5, values.clamp(0, 1)


def from_logits(logits: Float[Tensor, "B K h w"], sigma: float) -> Float[Tensor, "B K h w"]:
    """Maps of logits on the scale of drawn heatmaps: their softmax over all cells, times ``2π·sigma²``.

    A net trained with the divergence from a normalised Gaussian has logits, of which any constant may be taken away:
    their values mean nothing. Their softmax relative to the Gaussian's own peak, ``1 / (2π·sigma²)``, does: a net that
    is as sure as its labels has a peak of 1, one that knows nothing has ``2π·sigma² / (h·w)``.

    Args:
        logits: ``B×K×h×w``, any finite values.
        sigma: Of the Gaussian, in cells.
    """
    return logits.float().flatten(-2).softmax(-1).view(logits.shape) * (2 * math.pi * sigma**2)


def fraction(heatmaps: Float[Tensor, "B K h w"], cells: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """What to add to the local maxima ``cells`` (``B×K×2``, x then y) of ``B×K×h×w``: see :func:`decode`."""
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.flatten(-2)
    x, y = cells[..., 0].long(), cells[..., 1].long()

    def log_at(column: Tensor, row: Tensor) -> Tensor:
        index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        return flat.gather(-1, index.unsqueeze(-1)).squeeze(-1).clamp(min=1e-6).log()

    centre = log_at(x, y)
    shifts = []
    for before, after, inner in (
        (log_at(x - 1, y), log_at(x + 1, y), (x > 0) & (x < width - 1)),
        (log_at(x, y - 1), log_at(x, y + 1), (y > 0) & (y < height - 1)),
    ):
        curvature = before - 2 * centre + after
        shift = 0.5 * (before - after) / torch.where(curvature < -1e-9, curvature, torch.ones_like(curvature))
        shifts.append(torch.where(inner & (curvature < -1e-9), shift.clamp(-0.5, 0.5), torch.zeros_like(shift)))
    return torch.stack(shifts, -1)


def rectify(heatmaps: Float[Tensor, "B K h w"], sigma: float, *, subpixel: bool = False) -> Float[Tensor, "B K h w"]:
    """Operator R of Eq. 5: each map ``B×K×h×w`` becomes a Gaussian of peak 1 at its maximum, cut to a square ±3σ.

    With ``subpixel`` the maximum is that of :func:`decode`, else, as published, the middle of a cell.
    """
    cells, _ = peaks(heatmaps)
    if subpixel:
        cells = cells + fraction(heatmaps, cells)
    return draw(cells, (heatmaps.shape[-2], heatmaps.shape[-1]), sigma, window=round(3 * sigma))
