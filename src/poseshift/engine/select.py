"""Choose a checkpoint without target labels.

The score is *agreement*: the share of keypoints that the predictor (on the plain view) and the student (on a strongly
augmented view, moved back) place within 5 % of the input's side of each other, over the same target images and the same
augmentations at every checkpoint. In percent.

Beside it stands *coincidence*, which chooses nothing and warns: the share of left-right pairs that a net puts on one
spot. Two views can agree on a pose whose left and right arm are one and the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from poseshift.batches import TargetBatch
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps
from poseshift.types import ByteArray, FloatArray

TOLERANCE = 0.05


@torch.no_grad()
def agreement(predictor: PoseNet, student: PoseNet, views: Iterable[tuple[TargetBatch, TargetBatch]]) -> float:
    """Agreement in percent.

    Args:
        predictor: Sees the plain view of each pair.
        student: Sees the augmented view of each pair.
        views: Pairs of (plain, augmented) batches of the same images, in order.
    """
    modes = predictor.training, student.training
    predictor.eval(), student.eval()
    near, total = 0.0, 0
    for plain, augmented in views:
        ours, _ = heatmaps.decode(predictor(plain.student.images).heatmaps, stride=predictor.stride)
        theirs, _ = heatmaps.decode(student(augmented.student.images).heatmaps, stride=student.stride)
        theirs = affine.apply(affine.invert(augmented.student.matrix), theirs)
        limit = TOLERANCE * plain.student.images.shape[-1]
        close = (ours - theirs).norm(dim=-1) <= limit
        near, total = near + float(close.sum()), total + close.numel()
    predictor.train(modes[0]), student.train(modes[1])
    return 100 * near / max(total, 1)


@torch.no_grad()
def coincidence(predictor: PoseNet, views: Iterable[TargetBatch], pairs: tuple[tuple[int, int], ...]) -> float:
    """Percent of pairs whose predicted points lie within 5 % of the side of each other, on plain views.

    Args:
        predictor: Sees the student view of each batch.
        views: Plain views.
        pairs: Indices of left and right keypoints, at least one pair.
    """
    mode = predictor.training
    predictor.eval()
    left, right = (list(side) for side in zip(*pairs, strict=True))
    near, total = 0.0, 0
    for view in views:
        points, _ = heatmaps.decode(predictor(view.student.images).heatmaps, stride=predictor.stride)
        limit = TOLERANCE * view.student.images.shape[-1]
        close = (points[:, left] - points[:, right]).norm(dim=-1) <= limit
        near, total = near + float(close.sum()), total + close.numel()
    predictor.train(mode)
    return 100 * near / max(total, 1)


def labelled_coincidence(
    keypoints: FloatArray, visible: ByteArray, pairs: tuple[tuple[int, int], ...], *, size: int
) -> float:
    """The same of labels: NaN where no pair is labelled.

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
