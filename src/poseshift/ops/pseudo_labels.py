"""Pseudo-labels: which of the teacher's peaks to trust, and what to hide from the student."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from poseshift.batches import View
from poseshift.draws import Draws
from poseshift.ops import affine, collective, heatmaps


def top_fraction(peaks: Float[Tensor, "B K"], fraction: float, *, balanced: bool = False) -> Float[Tensor, "B K"]:
    """Mask ``B×K`` of the peaks strictly above the ``⌊(1 - fraction)·N⌋``-th smallest of the global batch (float 0/1).

    With ``fraction`` 0.5 that is the reference's ``kthvalue(⌊.5·B·K⌋)``; 1 keeps all. ``balanced`` compares each
    keypoint's peaks with one another, so that of each the same part is kept.
    """
    everything = collective.gather(peaks.detach())
    everything = everything if balanced else everything.flatten()
    rank = math.floor((1 - fraction) * len(everything) + 1e-6)  # 1 - 0.9 is a little less than a tenth
    if rank <= 0:
        return torch.ones_like(peaks)
    threshold = everything.kthvalue(rank, dim=0).values
    return (peaks > threshold).to(peaks.dtype)


def exclude_coincident(
    mask: Float[Tensor, "B K"],
    points: Float[Tensor, "B K 2"],
    peaks: Float[Tensor, "B K"],
    pairs: Int[Tensor, "P 2"],
    *,
    distance: float,
) -> Float[Tensor, "B K"]:
    """The mask without the less certain of a left and a right keypoint that claim one spot.

    A net that cannot tell sides puts both on the same limb, and pseudo-labels of that teach the student that sides do
    not matter. (Not in any of the papers.)

    Args:
        mask: ``B×K`` trusted peaks, 0 or 1.
        points: ``B×K×2`` places of the peaks.
        peaks: ``B×K`` their values.
        pairs: ``P×2`` indices of left and right, no keypoint in two pairs.
        distance: Below it two points are one spot, in the units of ``points``.
    """
    left, right = pairs[:, 0], pairs[:, 1]
    near = (points[:, left] - points[:, right]).norm(dim=-1) < distance
    weaker = torch.where(peaks[:, left] < peaks[:, right], left, right)
    return mask * (1 - torch.zeros_like(mask).scatter(1, weaker, near.to(mask.dtype)))


def trusted(
    pseudo: Float[Tensor, "B K h w"],
    *,
    fraction: float,
    pairs: Int[Tensor, "P 2"],
    exclusive: float,
    balanced: bool = False,
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Which peaks of the teacher are pseudo-labels: mask ``B×K`` (0 or 1) and the peaks' values ``B×K``.

    Args:
        pseudo: ``B×K×h×w``.
        fraction: See :func:`top_fraction`.
        pairs: ``P×2`` indices of left and right.
        exclusive: As a share of the width, the distance of :func:`exclude_coincident`; 0 for none, as published.
        balanced: See :func:`top_fraction`.
    """
    points, peaks = heatmaps.peaks(pseudo)
    mask = top_fraction(peaks, fraction, balanced=balanced)
    if exclusive:
        mask = exclude_coincident(mask, points, peaks, pairs, distance=exclusive * pseudo.shape[-1])
    return mask, peaks


def drawn_in_view(
    points: Float[Tensor, "B K 2"],
    matrix: Float[Tensor, "B 3 3"],
    other_side: Int[Tensor, " K"],
    size: tuple[int, int],
    *,
    stride: float,
    sigma: float,
    convention: heatmaps.Convention,
) -> tuple[Float[Tensor, "B K h w"], Float[Tensor, "B K"]]:
    """Heatmaps of pseudo-labels as a view shows them, and weights in {0, 1}: 0 outside of the view.

    Args:
        points: ``B×K×2``, pixels of the canonical frame.
        matrix: ``B×3×3`` of the view; where it is mirrored, left and right are exchanged.
        other_side: ``K`` indices of each keypoint's mirrored one.
        size: ``(h, w)`` of the maps.
        stride: Pixels a cell.
        sigma: Of the Gaussian, in cells.
        convention: See :mod:`poseshift.ops.heatmaps`.
    """
    seen = affine.to_view(matrix, points, other_side)
    everywhere = torch.ones_like(seen[..., 0])
    return heatmaps.encode(seen, everywhere, size, stride=stride, sigma=sigma, convention=convention)


def choose_confident(
    peaks: Float[Tensor, "B K"], *, threshold: float, probability: float, draws: Float[Tensor, "B K+1"]
) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
    """One confident keypoint a sample, and whether to hide it.

    Args:
        peaks: ``B×K`` teacher peak values.
        threshold: A keypoint is confident at or above it.
        probability: That a sample with a confident keypoint is occluded.
        draws: ``B×(K+1)`` uniform numbers in [0, 1): the first column decides whether, the others which.

    Returns:
        Index of the keypoint (``B``) and mask (``B``, bool).
    """
    confident = peaks >= threshold
    chosen = draws[:, 1:].masked_fill(~confident, -1.0).argmax(1)
    return chosen, confident.any(1) & (draws[:, 0] < probability)


def occlude(
    images: Float[Tensor, "B 3 H W"],
    matrix: Float[Tensor, "B 3 3"],
    points: Float[Tensor, "B K 2"],
    chosen: Int[Tensor, " B"],
    mask: Bool[Tensor, " B"],
    *,
    side: int,
    draws: Float[Tensor, "B 2"],
) -> Float[Tensor, "B 3 H W"]:
    """Pastes a patch of the same image over one keypoint of each masked sample.

    The patch is an axis-aligned square in the view, centred at the image of the keypoint under the view's matrix and
    cut at the border. (Deviation: the reference code lands 8 px off on average and distorts the image.)

    Args:
        images: ``B×3×H×W`` student view.
        matrix: ``B×3×3`` of that view.
        points: ``B×K×2`` keypoints in the canonical frame.
        chosen: ``B`` indices into K.
        mask: ``B``, bool: which samples to occlude.
        side: Of the patch, pixels.
        draws: ``B×2`` uniform numbers in [0, 1): where the patch is copied from.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(len(images), device=images.device)
    point = affine.apply(matrix, points)[rows, chosen]
    corner = (point - (side - 1) / 2).round()
    copied, pasted, inside = [], [], mask.view(-1, 1, 1)
    for axis, length in ((0, width), (1, height)):
        origin = (draws[:, axis, None] * (max(length - side, 0) + 1)).floor()
        start = corner[:, axis, None]
        # What lies outside is moved to the border and says what the border gets anyway: no pixel is written two ways.
        places = (start + torch.arange(side, device=images.device, dtype=corner.dtype)).clamp(0, length - 1)
        offset = places - start
        within = (offset >= 0) & (offset < side)
        inside = inside & within.unsqueeze(1 + axis)
        copied.append((origin + offset).clamp(0, length - 1).long())
        pasted.append(places.long())
    source, goal = ((y.unsqueeze(2) * width + x.unsqueeze(1)).flatten(1) for x, y in (copied, pasted))
    flat, channels = images.flatten(2), images.shape[1]
    patch, covered = (flat.gather(2, one.unsqueeze(1).expand(-1, channels, -1)) for one in (source, goal))
    values = torch.where(inside.flatten(1).unsqueeze(1), patch, covered)
    return flat.scatter(2, goal.unsqueeze(1).expand(-1, channels, -1), values).view_as(images)


def occlude_confident(
    view: View,
    pseudo: Float[Tensor, "B K h w"],
    draws: Draws,
    *,
    stride: float,
    threshold: float,
    probability: float,
    side: float,
) -> Float[Tensor, "B 3 H W"]:
    """The student's images ``B×3×H×W`` with a patch over one confident keypoint of some samples.

    Args:
        view: The student's.
        pseudo: Teacher heatmaps ``B×K×h×w`` in the canonical frame.
        draws: Random numbers of the step.
        stride: Pixels a cell.
        threshold: Peak from which a keypoint is confident.
        probability: Of a sample to be occluded.
        side: Of the patch, as a fraction of the width.
    """
    points, peaks = heatmaps.decode(pseudo, stride=stride)
    choice = draws.per_sample("occlusion", points.shape[1] + 1)
    chosen, hide = choose_confident(peaks, threshold=threshold, probability=probability, draws=choice)
    pixels = max(1, round(side * view.images.shape[-1]))
    origin = draws.per_sample("occlusion/patch", 2)
    return occlude(view.images, view.matrix, points, chosen, hide, side=pixels, draws=origin)
