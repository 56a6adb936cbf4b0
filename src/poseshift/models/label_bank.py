"""Pseudo-labels of all target images, made in one pass: points, and which of them to trust (Mu et al., CVPR 2020).

Equivariance
    The net sees each image as it is, and scaled by 0.75 and 1.25 and turned by 30° to either side: five views, whose
    heatmaps are moved back and averaged. The point is the maximum of the average, its confidence the value there.
Time
    In a video the point of a frame is followed to the next (:mod:`poseshift.ops.optical_flow`). Where it moves by at
    most 15 of 256 pixels and 0.9 of its confidence is more than that of the next frame's own point, it takes that
    one's place, with 0.9 of its confidence, and is followed on from there.
Rank
    A label is kept with the number of labels that are less certain, over all images and keypoints, so that a percentile
    of confidence is one comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from poseshift.batches import TargetBatch, View
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, color, heatmaps, optical_flow
from poseshift.ops.constants import constants

VIEWS = ((0.0, 1.0), (30.0, 0.75), (-30.0, 0.75), (30.0, 1.25), (-30.0, 1.25))
"""Degrees and factor of the picture's size of each view of the ensemble."""

DECAY = 0.9
FARTHEST, RADIUS = 15 / 256, 7 / 256
"""Largest movement between frames and half of the window that is followed, fractions of the width."""


class Frames(NamedTuple):
    """Labels of images: rows ``B``, grey values ``B×1×H×W``, points ``B×K×2`` (pixels), confidence ``B×K``."""

    ids: Int[Tensor, " B"]
    grey: Float[Tensor, "B 1 H W"]
    points: Float[Tensor, "B K 2"]
    confidence: Float[Tensor, "B K"]


@torch.no_grad()
def ensemble(net: PoseNet, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
    """Heatmaps ``B×K×h×w`` of plain, normalised images, averaged over :data:`VIEWS`; what a view loses counts as 0."""
    size, pictures = (images.shape[-2], images.shape[-1]), color.denormalise(images)
    centre = constants([(side - 1) / 2 for side in reversed(size)], like=images)
    maps = []
    for degrees, factor in VIEWS:
        angle, scale = (constants((number,), like=images) for number in (math.radians(degrees), factor))
        block = affine.rotation_shear_scale(angle, torch.zeros_like(angle), scale)
        matrix = affine.linear(block, centre=centre).expand(len(images), 3, 3)
        found = net(color.normalise(affine.warp(pictures, matrix, size))).heatmaps
        maps.append(affine.unwarp_heatmaps(found.float(), matrix, stride=net.stride))
    return torch.stack(maps).mean(0)


@torch.no_grad()
def followed(frames: Frames, last: Frames | None, previous: Int[Tensor, " B"]) -> Frames:
    """The labels of frames, with those that time puts in their place.

    Each round lets every frame take the labels of the one before it, and ends when nothing changes: after as many
    rounds as frames in a row give theirs on, with what going from frame to frame would give.

    Args:
        frames: Labels by equivariance alone.
        last: The frame that came before them, with its final labels.
        previous: ``B`` rows of the frames before; those that are not at hand count as none.
    """
    known = frames if last is None else Frames(*(torch.cat(pair) for pair in zip(last, frames, strict=True)))
    matches = previous.unsqueeze(1) == known.ids
    linked, at = matches.any(1, keepdim=True), matches.int().argmax(1)
    width, start = frames.grey.shape[-1], len(known.ids) - len(frames.ids)
    if not linked.any():
        return frames
    now = frames
    for _ in frames.ids:
        points, confidence = known.points[at], DECAY * known.confidence[at]
        moved, found = optical_flow.follow(
            known.grey[at], frames.grey, points, radius=max(2, round(RADIUS * width)), levels=3
        )
        near = (moved - points).norm(dim=-1) <= FARTHEST * width
        takes = linked & found & near & (confidence > 0) & (frames.confidence < confidence)
        after = frames._replace(
            points=torch.where(takes.unsqueeze(-1), moved, frames.points),
            confidence=torch.where(takes, confidence, frames.confidence),
        )
        if torch.equal(after.points, now.points) and torch.equal(after.confidence, now.confidence):
            break
        now = after
        known = known._replace(
            points=torch.cat((known.points[:start], now.points)),
            confidence=torch.cat((known.confidence[:start], now.confidence)),
        )
    return now


class LabelBank(nn.Module):
    """The pseudo-labels of the ``N`` target instances; saved with the run, so that a resumed one makes none again.

    Args:
        rows: ``N``.
        keypoints: ``K``.
        pairs: Indices of left and right keypoints.
        previous: ``N`` rows of the frames before, -1 for none; None where no image is a frame of a video.
    """

    points: Float[Tensor, "N K 2"]
    rank: Int[Tensor, "N K"]
    previous: Int[Tensor, " N"]
    other_side: Int[Tensor, " K"]

    def __init__(
        self,
        rows: int,
        keypoints: int,
        *,
        pairs: tuple[tuple[int, int], ...] = (),
        previous: Int[Tensor, " N"] | None = None,
    ) -> None:
        super().__init__()
        none = torch.full((rows,), -1)
        self.register_buffer("points", torch.zeros(rows, keypoints, 2))
        self.register_buffer("rank", torch.zeros(rows, keypoints, dtype=torch.long))
        self.register_buffer("previous", none if previous is None else previous, persistent=False)
        self.register_buffer("other_side", affine.other_side(keypoints, pairs), persistent=False)

    @torch.no_grad()
    def fill_from(self, net: PoseNet, targets: Iterator[TargetBatch]) -> None:
        """Labels plain target images, in the order of their rows, by what ``net`` says in evaluation mode.

        Rows that no batch shows (images that do not decode) keep the lowest rank, which is never trusted. A frame knows
        the one before it where that stands in the same batch or at the end of the batch before.
        """
        training = net.training
        net.eval()
        confidence = torch.full_like(self.rank, -torch.inf, dtype=self.points.dtype)
        last = None
        for batch in targets:
            images = batch.student.images
            maps = ensemble(net, images)
            grey = color.luma(color.denormalise(images))
            seen = Frames(batch.ids, grey, heatmaps.decode(maps, stride=net.stride)[0], heatmaps.peaks(maps)[1])
            seen = followed(seen, last, self.previous[batch.ids])
            self.points[batch.ids], confidence[batch.ids] = seen.points, seen.confidence
            last = Frames(*(part[-1:] for part in seen))
        net.train(training)
        self.rank.copy_(torch.searchsorted(confidence.flatten().sort().values, confidence))

    def trusted(self, ids: Int[Tensor, " B"], share: float) -> Bool[Tensor, "B K"]:
        """Which labels ``B×K`` of rows ``ids`` are more certain than the one at ``share`` of all, in their order."""
        return self.rank[ids] > math.floor(share * self.rank.numel() + 1e-6)

    def in_view(
        self, view: View, ids: Int[Tensor, " B"], share: float
    ) -> tuple[Float[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
        """Labels of rows ``ids`` as a view of theirs shows them, left and right exchanged where it is mirrored.

        Returns:
            Points ``B×K×2`` in pixels of the view, and ``B×K`` which of them :meth:`trusted` takes.
        """
        trusted = self.trusted(ids, share)
        flipped = affine.mirrored(view.matrix).unsqueeze(1)
        points = affine.to_view(view.matrix, self.points[ids], self.other_side)
        return points, torch.where(flipped, trusted[:, self.other_side], trusted)
