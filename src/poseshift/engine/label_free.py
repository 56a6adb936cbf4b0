"""Scores of a checkpoint that need no target label, in one pass over target images, all in percent.

A target image is seen plain and strongly augmented, the same at every checkpoint. With ``p`` the predictor's keypoints
on the plain view, ``q`` its keypoints on the augmented view, moved back, and ``s`` the student's there, each ``N×K``
points of an input of side ``S``:

``agreement``     share of keypoints with ``|p - s| <= S/20`` (more is better).
``equivariance``  error: mean of ``|p - q| / S`` (less is better); the idea of consistency under known transformations
                  of Thewlis et al., ICCV 2017, as a measure.
``entropy``       mean over maps of ``H(δ) / ln(h·w)``, δ the softmax of a plain view's map times β = 10 (less is
                  better); Grandvalet and Bengio, NeurIPS 2004.
``information``   mean over keypoints of ``(H(mean over images of δ) - mean over images of H(δ)) / ln(h·w)``, the mutual
                  information of image and cell (more is better); SHOT, Liang et al., ICML 2020, Eq. 3.
``plausibility``  distance of the normalised ``p`` from the nearest of the source's poses (less is better), see
                  :mod:`poseshift.engine.poses`.
``coincidence``   share of left-right pairs of ``p`` nearer than ``S/20`` to each other (less is better): two views can
                  agree on a pose whose left and right arm are one and the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poseshift.batches import TargetBatch
from poseshift.engine import poses
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps, information
from poseshift.types import ByteArray, FloatArray

TOLERANCE = 0.05
INVERSE_TEMPERATURE = 10.0


@dataclass(frozen=True, kw_only=True)
class LabelFree:
    """What is known of a checkpoint without labels, in percent; NaN where there is nothing to count.

    The attributes are the scores at the head of this module. ``coincidence`` is NaN for a skeleton without sides,
    ``plausibility`` without poses to compare with.
    """

    agreement: float
    equivariance: float
    entropy: float
    information: float
    plausibility: float
    coincidence: float


class _Sums:
    """Sums over batches that stay on the device: nothing waits for them before the end."""

    def __init__(self, sides: tuple[tuple[int, int], ...], known: Tensor | None) -> None:
        self.left, self.right = [pair[0] for pair in sides], [pair[1] for pair in sides]
        self.known, self.images = known, 0
        self.sums: dict[str, Tensor] = {}

    def _add(self, name: str, value: Tensor) -> None:
        value = value.double()
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def points(self, plain: Tensor, again: Tensor, student: Tensor, *, side: int) -> None:
        """Adds keypoints ``B×K×2`` in pixels of the plain view."""
        limit = TOLERANCE * side
        self._add("agreement", ((plain - student).norm(dim=-1) <= limit).sum(0))
        self._add("equivariance", (plain - again).norm(dim=-1).sum(0) / side)
        if self.left:
            self._add("coincidence", ((plain[:, self.left] - plain[:, self.right]).norm(dim=-1) <= limit).sum(0))
        if self.known is not None:
            self._add("plausibility", poses.distance(poses.normalise(plain, side=side), self.known).sum())

    def maps(self, maps: Tensor) -> None:
        """Adds maps ``B×K×h×w`` of the plain view."""
        probabilities = (INVERSE_TEMPERATURE * maps.float().flatten(-2)).softmax(-1)
        self.cells, self.images = probabilities.shape[-1], self.images + len(maps)
        self._add("entropy", information.entropy(probabilities).sum(0))
        self._add("probabilities", probabilities.sum(0))

    def means(self) -> dict[str, float]:
        """Every score that there is, after one wait for the device."""
        sums, count = self.sums, self.images
        scale = math.log(self.cells)
        entropy = sums["entropy"] / count
        spread = information.entropy(sums.pop("probabilities") / count)
        found = {name: 100 * (value / count).mean() for name, value in sums.items()}
        found |= {"entropy": 100 * entropy.mean() / scale, "information": 100 * (spread - entropy).mean() / scale}
        return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


@torch.no_grad()
def label_free(
    predictor: PoseNet,
    student: PoseNet,
    views: Iterable[tuple[TargetBatch, TargetBatch]],
    sides: tuple[tuple[int, int], ...],
    known: Tensor | None = None,
) -> LabelFree:
    """All scores in one pass: the predictor sees each view once, the student each augmented view.

    Args:
        predictor: Sees both views of each pair.
        student: Sees the augmented view of each pair; no second time where it is the predictor.
        views: Pairs of (plain, augmented) batches of the same images, in order.
        sides: Indices of left and right keypoints.
        known: Normalised poses ``M×K×2`` of the source on the predictor's device, or None.
    """
    modes = predictor.training, student.training
    predictor.eval(), student.eval()
    sums = _Sums(sides, known)
    for plain, augmented in views:
        count = len(plain.student.images)
        maps = predictor(torch.cat((plain.student.images, augmented.student.images))).heatmaps
        back = affine.invert(augmented.student.matrix)
        points, _ = heatmaps.decode(maps, stride=predictor.stride)
        again = affine.apply(back, points[count:])
        theirs = again
        if student is not predictor:
            said, _ = heatmaps.decode(student(augmented.student.images).heatmaps, stride=student.stride)
            theirs = affine.apply(back, said)
        sums.points(points[:count], again, theirs, side=plain.student.images.shape[-1])
        sums.maps(maps[:count])
    predictor.train(modes[0]), student.train(modes[1])
    absent = dict.fromkeys(LabelFree.__dataclass_fields__, math.nan)
    return LabelFree(**(absent | (sums.means() if sums.images else {})))


def labelled_coincidence(
    keypoints: FloatArray, visible: ByteArray, pairs: tuple[tuple[int, int], ...], *, size: int
) -> float:
    """Coincidence of labels: NaN where no pair is labelled.

    Args:
        keypoints: ``N×K×2`` in pixels of the input.
        visible: ``N×K``; 0 is not labelled.
        pairs: Indices of left and right keypoints, at least one pair.
        size: Side of the input.
    """
    left, right = (list(side) for side in zip(*pairs, strict=True))
    known = (visible[:, left] > 0) & (visible[:, right] > 0)
    apart = np.linalg.norm(keypoints[:, left] - keypoints[:, right], axis=-1)[known]
    return 100 * float((apart <= TOLERANCE * size).mean()) if len(apart) else float("nan")
