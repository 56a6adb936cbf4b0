"""Choose a checkpoint without target labels.

The score is *agreement*: the share of keypoints that the predictor (on the plain view) and the student (on a strongly
augmented view, moved back) place within 5 % of the input's side of each other, over the same target images and the same
augmentations at every checkpoint. In percent.

Beside it stands *coincidence*, which chooses nothing and warns: the share of left-right pairs that a net puts on one
spot. Two views can agree on a pose whose left and right arm are one and the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from poseshift.batches import TargetBatch
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps
from poseshift.types import ByteArray, FloatArray

TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class LabelFree:
    """What is known of a checkpoint without labels, in percent.

    Attributes:
        agreement: Keypoints on which predictor and student agree.
        coincidence: Left-right pairs whose predicted points lie within 5 % of the side of each other, on plain views;
            NaN for a skeleton without such pairs.
    """

    agreement: float
    coincidence: float


@torch.no_grad()
def label_free(
    predictor: PoseNet,
    student: PoseNet,
    views: Iterable[tuple[TargetBatch, TargetBatch]],
    sides: tuple[tuple[int, int], ...],
) -> LabelFree:
    """Both scores in one pass: each net sees each image once.

    Args:
        predictor: Sees the plain view of each pair.
        student: Sees the augmented view of each pair.
        views: Pairs of (plain, augmented) batches of the same images, in order.
        sides: Indices of left and right keypoints.
    """
    modes = predictor.training, student.training
    predictor.eval(), student.eval()
    left, right = [pair[0] for pair in sides], [pair[1] for pair in sides]
    agreed, together, points, images = 0, 0, 0, 0
    for plain, augmented in views:
        ours, _ = heatmaps.decode(predictor(plain.student.images).heatmaps, stride=predictor.stride)
        theirs, _ = heatmaps.decode(student(augmented.student.images).heatmaps, stride=student.stride)
        theirs = affine.apply(affine.invert(augmented.student.matrix), theirs)
        limit = TOLERANCE * plain.student.images.shape[-1]
        agreed += int(((ours - theirs).norm(dim=-1) <= limit).sum())
        together += int(((ours[:, left] - ours[:, right]).norm(dim=-1) <= limit).sum())
        points, images = points + ours.shape[0] * ours.shape[1], images + len(ours)
    predictor.train(modes[0]), student.train(modes[1])
    coincidence = 100 * together / max(images * len(sides), 1) if sides else float("nan")
    return LabelFree(agreement=100 * agreed / max(points, 1), coincidence=coincidence)


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
