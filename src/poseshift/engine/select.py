"""Choose a checkpoint without target labels.

The score is *agreement*: the share of keypoints that the predictor (on the plain view) and the student (on a strongly
augmented view, moved back) place within 5 % of the input's side of each other, over the same target images and the same
augmentations at every checkpoint. In percent.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from poseshift.batches import TargetBatch
from poseshift.models.pose_net import PoseNet
from poseshift.ops import affine, heatmaps

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
